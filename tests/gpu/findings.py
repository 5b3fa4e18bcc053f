"""What the checks find: one line per figure on stdout, and the names of the figures that are off."""

import statistics
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import torch

Result = TypeVar("Result")


class Timed(NamedTuple):
    """What `Findings.timed` returns.

    seconds: the median of the rounds.  gib: the most GPU memory that tensors took, GiB, 0 on a CPU.
    result: what the last round returned.
    """

    seconds: float
    gib: float
    result: Any


@dataclass
class Findings:
    """What one part has found so far.

    device: what is checked.  dry: everything runs once at tiny size, to find mistakes in the checks.
    failed: the names of the figures that were off.
    """

    device: torch.device
    dry: bool
    failed: list[str] = field(default_factory=list)

    def tell(self, name: str, value: str, good: bool | None = None) -> None:
        """Print a figure; `good` says whether it is as it should be, None that no bar is set for it."""
        if good is False:
            self.failed.append(name)
        mark = {None: "", True: "ok   ", False: "FAIL "}[good]
        print(f"{mark}{name:52} {value}", flush=True)

    def attempt(self, name: str, check: Callable[[], Result]) -> Result | None:
        """Run a check; one that raises is off, and does not hide the checks after it."""
        try:
            return check()
        except Exception as error:
            self.tell(name, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}", False)
            traceback.print_exc(limit=-4, file=sys.stdout)
            return None

    def timed(self, work: Callable[[], Any], rounds: int = 3, warm: int = 1) -> Timed:
        """Time `rounds` runs of `work` after `warm` runs that do not count; a dry run times one run."""
        if self.dry:
            rounds, warm = 1, 0
        for _ in range(warm):
            work()
        self.wait()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds, result = [], None
        for _ in range(rounds):
            start = time.perf_counter()
            result = work()
            self.wait()
            seconds.append(time.perf_counter() - start)
        return Timed(statistics.median(seconds), self.gib(), result)

    def wait(self) -> None:
        """Wait until the device has done its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def gib(self) -> float:
        """The most GPU memory that tensors have taken since the last timing began, GiB; 0 on a CPU."""
        return torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else 0.0
