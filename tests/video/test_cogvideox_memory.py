"""How much memory of a GPU each mode needs, counted at full size without a GPU."""

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.video.cogvideox_memory import MODES, PEAKS, mode_for, next_mode
from stages.video.cogvideox_network import TRANSFORMER_5B, VAE_5B, build, rotary
from tests.video.live_memory import GIB, activations, weights

BARS = {"full": 26.0, "offload": 15.0, "tiled": 12.0, "stream": 6.0}  # GiB


def test_memory_is_counted_while_it_is_in_use() -> None:
    def chain() -> Tensor:
        x = torch.empty(GIB, dtype=torch.uint8, device="meta")
        for _ in range(3):
            x = x[:].neg()
        return x

    assert activations(chain) == 2


def test_the_table_of_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest activations of encoder, transformer and decoder, with the weights that are on the GPU meanwhile."""
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda q, k, v, **_: torch.empty_like(q))
    on_meta: Any = partial(torch.empty, device="meta", dtype=torch.bfloat16)
    transformer, vae = build("transformer", TRANSFORMER_5B).bfloat16(), build("vae", VAE_5B).bfloat16()
    blocks = transformer.transformer_blocks
    all_weights, codec, block = weights(transformer), weights(vae), weights(blocks[0])
    transformer.transformer_blocks = blocks[:2]  # All need the same.
    angles = tuple(table.to("meta") for table in rotary(transformer.config, 13, (60, 90)))
    t = torch.zeros(1, dtype=torch.long, device="meta")
    inputs = (on_meta(1, 13, 32, 60, 90), on_meta(1, 226, 4096), t)
    step = activations(lambda: transformer(*inputs, image_rotary_emb=angles, return_dict=False))
    encode = activations(lambda: vae.encode(on_meta(1, 3, 49, 480, 720)))
    decode = activations(lambda: vae.decode(on_meta(1, 16, 13, 60, 90)))
    vae.enable_tiling()
    tiled = activations(lambda: vae.decode(on_meta(1, 16, 5, 60, 90)))  # More frames hardly add any.
    counted = {
        "full": all_weights + codec + max(step, encode, decode),
        "offload": max(all_weights + step, codec + max(encode, decode)),
        "tiled": max(all_weights + step, codec + tiled),
        "stream": all_weights - len(blocks) * block + max(block + step, codec + tiled),
    }
    assert counted == pytest.approx(PEAKS, abs=0.1)
    assert all(PEAKS[mode] <= bar for mode, bar in BARS.items())


@pytest.mark.parametrize(
    ("free", "mode"),
    [(80, "full"), (23.5, "full"), (15.5, "offload"), (11.5, "stream"), (7.5, "stream"), (2, "stream")],
)
def test_the_fastest_mode_that_fits_is_taken(free: float, mode: str) -> None:
    """For cards of 80, 24, 16, 12 and 8 GB, and for one that has too little."""
    assert mode_for(int(free * GIB)) == mode


def test_the_next_mode_needs_less() -> None:
    assert list(MODES) == list(PEAKS)
    assert list(PEAKS.values()) == sorted(PEAKS.values(), reverse=True)
    assert [next_mode(mode) for mode in MODES] == ["offload", "stream", "stream", None]
