"""How CogVideoX-5B uses the memory of a GPU: four modes, from the fastest to the one that needs least."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


@dataclass(frozen=True)
class Memory:
    """How the networks use memory.

    dtype: type of the weights and the latents.
    offload: keep the weights in main memory, and give each network copies on the device while it runs.
    stream: with `offload`, copy the transformer's weights block by block.
    tiling: encode and decode in overlapping tiles, whose seams show faintly.
    slicing: encode and decode one clip at a time.
    """

    dtype: torch.dtype = torch.bfloat16
    offload: bool = False
    tiling: bool = False
    slicing: bool = False
    stream: bool = False


MODES: dict[str, Memory] = {
    "full": Memory(),
    "offload": Memory(offload=True),
    "tiled": Memory(offload=True, tiling=True),
    "stream": Memory(offload=True, tiling=True, stream=True),
}
"""The modes of --memory, the fastest first. Only tiling changes the pixels."""

PEAKS = {"full": 20.5, "offload": 11.8, "tiled": 11.8, "stream": 3.0}
"""Peak memory of a clip of 49 x 480 x 720 in bfloat16, GiB: weights on the device and the largest activations.

They are sums of the sizes of the tensors that live at one time, counted on torch's meta device by
tests/video/test_cogvideox_memory.py. Nobody has measured them yet. In `full` the decoder needs most, in `offload` and
`tiled` the transformer.
"""
RESERVE = 1.0  # GiB that CUDA's context, the kernels' workspaces and fragmentation need in addition


def mode_for(free: int) -> str:
    """The fastest mode that fits into `free` bytes of a GPU's memory, or the smallest one."""
    fits = [mode for mode, peak in PEAKS.items() if (peak + RESERVE) * 2**30 <= free]
    return fits[0] if fits else list(PEAKS)[-1]


def next_mode(mode: str) -> str | None:
    """The fastest mode that needs less memory than `mode`, or None."""
    return next((other for other, peak in PEAKS.items() if peak < PEAKS[mode]), None)


class Visitor(nn.Module):
    """Runs a network with copies of its weights on a device. The weights stay in main memory, and none is copied back.

    On CUDA the weights are moved to pinned memory, from which copies are several times as fast.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.network, self.device = network, device
        if device.type == "cuda":
            for tensor in self._weights().values():
                tensor.data = tensor.data.pin_memory()

    def call(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """The result of a method of the network, such as its `forward` or `decode`."""
        copies = {name: tensor.to(self.device, non_blocking=True) for name, tensor in self._weights().items()}
        return functional_call(self, copies, (method, *arguments), options)

    def forward(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call the method; `call` has put the copies into the network meanwhile."""
        return method(*arguments, **options)

    def _weights(self) -> dict[str, Tensor]:
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}


def stream_blocks(transformer: Any, device: torch.device) -> None:
    """Let each block of the transformer run with copies of its weights, and move the rest of it to the device."""
    for name, part in transformer.named_children():
        if name != "transformer_blocks":
            part.to(device)
    for block in transformer.transformer_blocks:
        block.forward = partial(Visitor(block, device).call, block.forward)
