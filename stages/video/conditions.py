"""What `small` knows beside the noised latent: the clean render, its coverage, and both photographs."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.video.codec import CHANNELS, FRAMES, SIDE, STILL, encode, fold
from stages.video.one_step import place_ends

COVERAGE = FRAMES * SIDE * SIDE  # channels of the coverage
CONDITION_CHANNELS = CHANNELS + COVERAGE + STILL


def condition(render_latent: Tensor, coverage: Tensor, photographs: Tensor) -> Tensor:
    """The condition of a clip, [B, T, CONDITION_CHANNELS, H, W].

    render_latent: [B, T, 192, H, W], see `codec.encode`.  coverage: [B, F, h, w] in [0, 1].  photographs: [B, 2, 3, h, w] in [0, 1].

    The clean render is part of it because this codec is lossless: in a noised latent the fine bands, which a learned codec would have
    put into the shape of the coarse ones, are gone. The photographs stand at both ends as in `place_ends`; an image fills the lowest
    temporal band alone, and only that is passed on. `SmallVideo` shows them to every frame.
    """
    folded = fold(coverage.float()[:, :, None]).permute(0, 1, 4, 2, 3)
    first, last = (encode(photographs[:, [k]])[:, :, :STILL] for k in (0, 1))
    return torch.cat([render_latent, 2 * folded - 1, place_ends(first, last, render_latent.shape[1])], 2)


def render_of(condition: Tensor) -> Tensor:
    """The clean render's latent in a condition, [B, T, 192, H, W]."""
    return condition[:, :, :CHANNELS]


def photographs_of(condition: Tensor) -> Tensor:
    """The photographs' latents in a condition, [B, 2, STILL, H, W]."""
    return condition[:, [0, -1], CHANNELS + COVERAGE :]
