"""Training in one process, or in several that share weights and train on different clips (Hugging Face accelerate)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.errors import InputError


@dataclass(frozen=True)
class Workers:
    """The processes of a run. This one is number `rank` of `count`.

    mean: replaces gradients by their mean over all processes.  wait: returns when all processes have called it.
    """

    rank: int = 0
    count: int = 1
    device: torch.device | None = None
    mean: Callable[[Iterable[Tensor]], None] = lambda gradients: None
    wait: Callable[[], None] = lambda: None


def accelerated(cpu: bool) -> Workers:
    """The processes that `accelerate launch` or torchrun started. Raises InputError without the package accelerate.

    As the gradients are the same in all processes, so are weights, averages and optimisers. Only rank 0 writes.
    """
    try:
        from accelerate import Accelerator  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        why = "the package accelerate is missing"
        raise InputError("cannot train in several processes", why, "pip install accelerate") from error
    accelerator = Accelerator(cpu=cpu)

    def mean(gradients: Iterable[Tensor]) -> None:
        for gradient in gradients:
            gradient.copy_(accelerator.reduce(gradient, "mean"))

    return Workers(
        accelerator.process_index, accelerator.num_processes, accelerator.device, mean, accelerator.wait_for_everyone
    )
