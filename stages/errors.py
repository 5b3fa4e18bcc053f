"""The errors that a user can see. Each has three lines: what failed, why, and what to do next.

The command line maps each class to an exit code (README, "Exit codes").
"""

from __future__ import annotations


class StageError(Exception):
    """A failure that a user can act on.

    what: the thing that failed.  why: the cause.  hint: what to do next.  One line each.
    """

    def __init__(self, what: str, why: str, hint: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what, self.why, self.hint = what, why, hint

    def __reduce__(self) -> tuple[type[StageError], tuple[str, str, str]]:
        """Pickle all three lines. By default an error from a worker process would arrive with its message only."""
        return type(self), (self.what, self.why, self.hint)


class InputError(StageError):
    """The input cannot be used (unreadable, malformed, out of range). Raised before any work. Exit code 2."""


class RunError(StageError):
    """The input is valid but this run cannot succeed (no overlap, no baseline, disk full). Exit code 1."""


class WeightsError(StageError):
    """Network weights are missing, damaged or of another network. Exit code 3."""


class DeviceError(StageError):
    """The device is missing or out of memory. Exit code 4."""
