"""Counts the memory that a function needs, on torch's meta device, where tensors have sizes and no numbers."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

GIB = 2**30


class LiveMemory(TorchDispatchMode):
    """Within this context, the sizes of all tensors that are made and still in use are added up.

    peak: the largest sum, bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now, self.peak = 0, 0
        self._users: dict[int, int] = {}  # number of tensors that share a piece of memory, by its address in torch

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        for tensor in tree_flatten(result)[0]:
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key not in self._users:
                    self._users[key] = 0
                    self.now += size
                    self.peak = max(self.peak, self.now)
                self._users[key] += 1
                weakref.finalize(tensor, self._forget, key, size)
        return result

    def _forget(self, key: int, size: int) -> None:
        self._users[key] -= 1
        if not self._users[key]:
            del self._users[key]
            self.now -= size


@torch.no_grad()
def activations(function: Callable[[], object]) -> float:
    """The most memory that tensors take while a function runs, besides those that exist before, GiB."""
    with LiveMemory() as memory:
        function()
    return memory.peak / GIB


def weights(network: nn.Module) -> float:
    """The memory of a network's weights, GiB."""
    return sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values()) / GIB
