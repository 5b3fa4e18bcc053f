"""Each of several processes holds a part of the trained weights of a large network (torch's fully_shard).

Gradients, averaged weights, the moments of AdamW and the teacher's weights are divided in the same way. Each block
gathers its weights when it runs, and drops them afterwards. Frozen weights stay whole in every process.

A tensor of which each process holds a part is called sharded. It is a DTensor, with the shape of the whole one. All
processes must take part in every pass of the network, and in `whole`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

if TYPE_CHECKING:
    from stages.distill.model import Model
    from stages.distill.workers import Workers


def shard(model: Model, workers: Workers) -> None:
    """Divide the trained weights of a model among the processes, if there are several and the model has blocks.

    All processes must hold the same weights before this is called.
    """
    if workers.count == 1 or not model.blocks:
        return
    trained = model.weights
    for value in trained.values():
        value.requires_grad_(True)  # fully_shard takes note of it
    frozen = {value for name, value in model.network.named_parameters() if name not in trained}
    mesh = init_device_mesh(next(iter(trained.values())).device.type, (workers.count,))
    for module in (*model.blocks, model.network):
        fully_shard(module, mesh=mesh, ignored_params=frozen)


def is_sharded(weights: Mapping[str, Tensor]) -> bool:
    """Whether this process holds only a part of the weights."""
    return any(isinstance(value, DTensor) for value in weights.values())


def placed(value: Tensor, like: Tensor) -> Tensor:
    """A copy of a whole tensor with the device and type of another one, and sharded if that one is.

    value: the whole tensor, which every process must have.  like: the other one.
    """
    copy = value.detach().to(like.device, like.dtype, copy=True)
    if not isinstance(like, DTensor):
        return copy
    return distribute_tensor(copy, like.device_mesh, like.placements, src_data_rank=None)


def whole(tensor: Tensor) -> Tensor:
    """A tensor put together from its parts, in main memory, or the tensor itself if it is not sharded.

    Only the first process gets the whole one, for a checkpoint. The others get the part that they hold.
    """
    if not isinstance(tensor, DTensor):
        return tensor
    gathered = tensor.full_tensor()
    return gathered.cpu() if tensor.device_mesh.get_rank() == 0 else tensor


@contextmanager
def exchanged(own: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> Iterator[None]:
    """A context in which two sets of weights have exchanged their values. own, others: tensors by the same names.

    So a network can run with other weights than its own, where torch.func.functional_call cannot: the hooks of
    fully_shard gather the parts of the network's own weights.
    """
    _exchange(own, others)
    try:
        yield
    finally:
        _exchange(own, others)


@torch.no_grad()
def _exchange(own: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> None:
    for name, value in own.items():
        kept = value.detach().clone()
        value.copy_(others[name])
        others[name].copy_(kept)
