"""The condition of `small`: what the network gets besides the noised latent.

It holds the clean render, its coverage, both photographs, and both photographs as the clip's cameras see them.
"""

import torch
from torch import Tensor

from stages.video.one_step import place_ends
from stages.video.small_codec import CHANNELS, FRAMES, SIDE, STILL, decode, encode, fold, unfold
from stages.video.warp import Warped

MAP_CHANNELS = FRAMES * SIDE * SIDE  # latent channels of one map with one value per pixel, such as the coverage
# The channels of the condition hold these parts in this order: the render, its coverage, the photographs, the warped
# photographs, and the weights of the warped photographs. Each constant that ends in _AT is the first channel of a part.
# The render begins at channel 0, and the coverage at channel CHANNELS.
PHOTOGRAPHS_AT = CHANNELS + MAP_CHANNELS
WARPED_AT = PHOTOGRAPHS_AT + STILL
WEIGHTS_AT = WARPED_AT + 2 * CHANNELS
CONDITION_CHANNELS = WEIGHTS_AT + 2 * MAP_CHANNELS


def condition(render_latent: Tensor, coverage: Tensor, photographs: Tensor, warped: Warped) -> Tensor:
    """The condition of a clip, [B, T, CONDITION_CHANNELS, H, W].

    render_latent: [B, T, 192, H, W], see `small_codec.encode`.  coverage: [B, F, h, w] in [0, 1].
    photographs: [B, 2, 3, h, w] in [0, 1].
    warped: the photographs as the clip's cameras see them, with a leading batch axis.

    Noise hides the fine bands of this lossless codec, so the network also gets the clean render. The photographs stand
    at both ends, as in `place_ends`. An image fills only the lowest temporal band, so only that band is passed on;
    `SmallVideo` shows it to every frame. A warped photograph is given as its difference from the render, and that is
    zero where the photograph does not show the surface.
    """
    frames = decode(render_latent)
    visible = warped.weight[:, :, :, None] > 0
    laid_over = torch.where(visible, warped.colours, frames[:, :, None])
    differences = [encode(laid_over[:, :, k]) - render_latent for k in (0, 1)]
    first, last = (encode(photographs[:, [k]])[:, :, :STILL] for k in (0, 1))
    ends = place_ends(first, last, render_latent.shape[1])
    covered = 2 * fold_maps(coverage[:, :, None]) - 1
    return torch.cat([render_latent, covered, ends, *differences, fold_maps(warped.weight)], 2)


def render_of(condition: Tensor) -> Tensor:
    """The clean render's latent in a condition: [B, T, 192, H, W]."""
    return condition[:, :, :CHANNELS]


def photographs_of(condition: Tensor) -> Tensor:
    """The photographs' latents in a condition: [B, 2, STILL, H, W]."""
    return condition[:, [0, -1], PHOTOGRAPHS_AT:WARPED_AT]


def pixels_of(condition: Tensor) -> tuple[Tensor, Warped]:
    """The render [B, F, 3, h, w] and the warped photographs in a condition.

    Where a warped photograph does not show the surface, it holds the render's colours.
    """
    render = render_of(condition)
    differences = condition[:, :, WARPED_AT:WEIGHTS_AT].unflatten(2, (2, CHANNELS))
    colours = torch.stack([decode(render + differences[:, :, k]) for k in (0, 1)], 2)
    return decode(render), Warped(colours, unfold_maps(condition[:, :, WEIGHTS_AT:]))


def fold_maps(maps: Tensor) -> Tensor:
    """`small_codec.fold` for each of n maps: [B, F, n, h, w] -> [B, T, n * 64, H, W]."""
    return torch.cat([fold(one).permute(0, 1, 4, 2, 3) for one in maps.float().split(1, 2)], 2)


def unfold_maps(channels: Tensor) -> Tensor:
    """Undo `fold_maps`."""
    return torch.cat([unfold(one.permute(0, 1, 3, 4, 2)) for one in channels.split(MAP_CHANNELS, 2)], 2)
