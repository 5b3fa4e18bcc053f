"""How much memory of a GPU the training of cogvideox-5b needs, counted at full size on torch's meta device.

It is a step of the student's phase with the shipped recipe. All sizes are in GB, 10^9 bytes.
"""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from stages.distill.recipe_file import find_config, read_config
from stages.video.cogvideox_network import TRANSFORMER_5B, VAE_5B, build

GB = 1e9
TOKENS, TEXT, WIDTH = 13 * 30 * 45, 226, 3072  # of a clip of 49 x 480 x 720; of the text; channels
BATCH = read_config(find_config("cogvideox-5b")).student.batch
CLIPS = 2 * BATCH * 49 * 3 * 480 * 720 * 4 / GB  # render and truth in float32
GATHERED = 6  # copies of a block's attention: whole weights and gradient, and buffers to gather this block and the next
TEMPORARY = 3  # tensors as large as the largest saved one, in the backward pass of a block
RESERVE = 2.0  # CUDA's context, the kernels' workspaces, fragmentation


class Autocast(TorchFunctionMode):
    """What torch.autocast does on CUDA, but on the meta device: bfloat16 for products, float32 for normalisation."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        half = (F.linear, F.scaled_dot_product_attention)
        dtype = torch.bfloat16 if function in half else torch.float32 if function is F.layer_norm else None
        if dtype is not None:
            args = [x.to(dtype) if isinstance(x, Tensor) else x for x in args]
        if function is F.scaled_dot_product_attention:
            return torch.ops.aten._scaled_dot_product_flash_attention(*args[:3])[0]
        return function(*args, **(kwargs or {}))


def size(tensors: Iterable[Tensor]) -> float:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / GB


def saved_by(block: nn.Module) -> tuple[float, float]:
    """What one block saves for its backward pass over one clip, and the largest tensor of it."""
    saved: dict[int, Tensor] = {}  # by the address of its memory in torch

    def pack(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage()._cdata] = tensor
        return tensor

    half = {"dtype": torch.bfloat16, "device": "meta"}
    video, text = (torch.empty(1, n, WIDTH, requires_grad=True, **half) for n in (TOKENS, TEXT))  # type: ignore[call-overload]
    angles = [torch.empty(TOKENS, 64, device="meta") for _ in range(2)]
    with Autocast(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = block(video, text, torch.empty(1, 512, **half), angles)  # type: ignore[call-overload]
    assert {x.dtype for x in out} == {torch.bfloat16}
    own = {tensor.untyped_storage()._cdata for tensor in block.parameters()}
    sizes = [size([tensor]) for address, tensor in saved.items() if address not in own]
    return sum(sizes), max(sizes)


def count(processes: int) -> float:
    """The memory that each of some processes needs: what all hold, what they divide, what the passes need."""
    transformer, codec = build("transformer", TRANSFORMER_5B).bfloat16(), build("vae", VAE_5B).bfloat16()
    transformer.requires_grad_(False)
    blocks = transformer.transformer_blocks
    for block in blocks:
        block.attn1.float().requires_grad_(True)
    attention = size(x for x in transformer.parameters() if x.requires_grad)
    frozen = size(transformer.state_dict().values()) - attention + size(codec.state_dict().values())
    divided = 6 * attention  # weights, gradient, two moments, averaged weights, the teacher's weights
    gathered = GATHERED * attention / len(blocks) if processes > 1 else 0
    saved, largest = saved_by(blocks[0])
    checkpoints = len(blocks) * (TOKENS + TEXT) * WIDTH * 2 / GB  # the inputs of all blocks
    passes = CLIPS + BATCH * (checkpoints + saved + TEMPORARY * largest)
    return frozen + divided / processes + gathered + passes + RESERVE


def test_eight_cards_of_40_gb_suffice_and_one_of_80() -> None:
    """README says these numbers."""
    assert count(8) == pytest.approx(33, abs=0.5)
    assert count(1) == pytest.approx(66, abs=0.5)
