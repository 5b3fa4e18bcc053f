"""What `small` knows beside the noised latent: the clean render, its coverage, both photographs, and both seen from its cameras."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.video.one_step import place_ends
from stages.video.small_codec import CHANNELS, FRAMES, SIDE, STILL, decode, encode, fold, unfold
from stages.video.warp import Warped

PIXELS = FRAMES * SIDE * SIDE  # channels of a grey map, such as the coverage
ENDS = CHANNELS + PIXELS  # where the photographs begin,
COLOURS = ENDS + STILL  # the warped ones,
WEIGHTS = COLOURS + 2 * CHANNELS  # and their weights
CONDITION_CHANNELS = WEIGHTS + 2 * PIXELS


def condition(render_latent: Tensor, coverage: Tensor, photographs: Tensor, warped: Warped) -> Tensor:
    """The condition of a clip, [B, T, CONDITION_CHANNELS, H, W].

    render_latent: [B, T, 192, H, W], see `codec.encode`.  coverage: [B, F, h, w] in [0, 1].  photographs: [B, 2, 3, h, w] in [0, 1].
    warped: the photographs seen from the clip's cameras, with a batch's dimension in front.

    The clean render is part of it because this codec is lossless: in a noised latent the fine bands, which a learned codec would have
    put into the shape of the coarse ones, are gone. The photographs stand at both ends as in `place_ends`; an image fills the lowest
    temporal band alone, and only that is passed on. `SmallVideo` shows them to every frame. A warped photograph comes as what it would
    change of the render where it shows the surface.
    """
    frames = decode(render_latent)
    shown = warped.weight[:, :, :, None] > 0
    changed = torch.where(shown, warped.colours, frames[:, :, None])
    changes = [encode(changed[:, :, k]) - render_latent for k in (0, 1)]
    first, last = (encode(photographs[:, [k]])[:, :, :STILL] for k in (0, 1))
    ends = place_ends(first, last, render_latent.shape[1])
    return torch.cat([render_latent, 2 * fold_maps(coverage[:, :, None]) - 1, ends, *changes, fold_maps(warped.weight)], 2)


def render_of(condition: Tensor) -> Tensor:
    """The clean render's latent in a condition, [B, T, 192, H, W]."""
    return condition[:, :, :CHANNELS]


def photographs_of(condition: Tensor) -> Tensor:
    """The photographs' latents in a condition, [B, 2, STILL, H, W]."""
    return condition[:, [0, -1], ENDS:COLOURS]


def pixels_of(condition: Tensor) -> tuple[Tensor, Warped]:
    """The render [B, F, 3, h, w] and the warped photographs in a condition; these show the render where they do not see the surface."""
    render = render_of(condition)
    changes = condition[:, :, COLOURS:WEIGHTS].unflatten(2, (2, CHANNELS))
    colours = torch.stack([decode(render + changes[:, :, k]) for k in (0, 1)], 2)
    return decode(render), Warped(colours, unfold_maps(condition[:, :, WEIGHTS:]))


def fold_maps(maps: Tensor) -> Tensor:
    """[B, F, n, h, w] -> [B, T, n 64, H, W], map by map."""
    return torch.cat([fold(one).permute(0, 1, 4, 2, 3) for one in maps.float().split(1, 2)], 2)


def unfold_maps(channels: Tensor) -> Tensor:
    """Undo `fold_maps`."""
    return torch.cat([unfold(one.permute(0, 1, 3, 4, 2)) for one in channels.split(PIXELS, 2)], 2)
