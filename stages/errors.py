"""What can go wrong, said in three lines: what happened, why, and what to type next.

The command line maps each class to an exit code (README, "Exit codes").
"""

from __future__ import annotations


class StageError(Exception):
    """A failure a user can act on.

    what: one line, the thing that failed.  why: one line, the cause.  hint: one line, what to do next.
    """

    def __init__(self, what: str, why: str, hint: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what, self.why, self.hint = what, why, hint

    def __reduce__(self) -> tuple[type[StageError], tuple[str, str, str]]:
        """Errors cross from worker processes; by default only the message would."""
        return type(self), (self.what, self.why, self.hint)


class InputError(StageError):
    """The input cannot be used (unreadable, malformed, out of range); raised before any work. Exit code 2."""


class RunError(StageError):
    """The input is valid but this run cannot succeed (no overlap, no baseline, disk full). Exit code 1."""


class WeightsError(StageError):
    """Weights are missing, damaged or of another network. Exit code 3."""


class DeviceError(StageError):
    """The device is missing or out of memory. Exit code 4."""
