"""Training in one process, or in several that share weights and train on different clips (torch.distributed)."""

import atexit
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from stages.errors import RunError

# The longest time that a process waits for another one. The first one may make clips or write a checkpoint meanwhile.
TIMEOUT = timedelta(hours=12)
BUCKET = 1 << 24  # largest number of values in one transfer, in which small tensors go together


@dataclass(frozen=True)
class Workers:
    """The processes of a run. This one is number `rank` of `count`.

    As the mean gradients are the same in all processes, so are weights, averages and optimisers. Weights that are
    sharded (sharding.py) have no copies that must agree. Only rank 0 writes.
    """

    rank: int = 0
    count: int = 1
    device: torch.device | None = None

    @property
    def identity(self) -> dict[str, int]:
        """The part of a phase's identity that says how many processes train: they decide the batches of a step."""
        return {"processes": self.count} if self.count > 1 else {}

    def mean(self, tensors: Iterable[Tensor]) -> None:
        """Replace gradients by their mean over all processes. Every process must give the same shapes in one order.

        Gradients of which each process holds a part stay as they are: fully_shard has taken the mean when it divided
        them.
        """
        copies = (tensor for tensor in tensors if not isinstance(tensor, DTensor))
        for bucket in _buckets(copies) if self.count > 1 else ():
            flat = torch.cat([tensor.flatten() for tensor in bucket])
            dist.all_reduce(flat)
            parts = (flat / self.count).split([tensor.numel() for tensor in bucket])
            for tensor, part in zip(bucket, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all processes, which have one shape, by rank."""
        if self.count == 1:
            return [tensor]
        gathered = [torch.empty_like(tensor) for _ in range(self.count)]
        dist.all_gather(gathered, tensor.contiguous())
        return gathered

    def require_equal(self, weights: Mapping[str, Tensor]) -> None:
        """Raise RunError in every process unless all have the same weights.

        Weights of which each process holds a part have no copies to compare.
        """
        copies = [value for value in weights.values() if not isinstance(value, DTensor)]
        if self.count == 1 or not copies:
            return
        sums = torch.stack([value.detach().double().sum() for value in copies])
        for rank, others in enumerate(self.gather(sums)):
            if not torch.equal(others, sums):
                why = f"those of process {rank} differ from those of process {self.rank}"
                raise RunError("the processes have different weights", why, "go on from an earlier checkpoint")

    def wait(self) -> None:
        """Return when all processes have called this."""
        if self.count > 1:
            dist.barrier()


def join_workers(device: torch.device) -> Workers:
    """Join the processes that torchrun or `accelerate launch` started. device: the one that this process uses."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    atexit.register(dist.destroy_process_group)
    return Workers(dist.get_rank(), dist.get_world_size(), device)


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in groups of one type, and of at most BUCKET values unless one tensor alone has more."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and (tensor.dtype != bucket[0].dtype or sum(t.numel() for t in bucket) + tensor.numel() > BUCKET):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
