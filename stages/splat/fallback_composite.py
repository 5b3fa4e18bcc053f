"""The compositing of fallback.py, in torch: the image is cut into tiles, and a tile blends its Gaussians front to back.

A group of tiles with similar numbers of Gaussians is processed together. A step blends the next few Gaussians of every
tile in the group. Autograd computes the gradients. It repeats each step in the backward pass, so that memory does not
grow with the number of steps.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# Limits of gsplat: a Gaussian is skipped if its alpha is below the first, alpha is clamped to the second, and a pixel
# is complete before the Gaussian that would bring its transmittance down to the third.
ALPHA_MIN, ALPHA_MAX, TRANSMITTANCE_MIN = 1.0 / 255.0, 0.999, 1e-4
Size = tuple[int, int]  # width and height of an image, px
TILE = 8  # side of a tile, px; small tiles waste fewer pixels, and more tiles cost nothing here
GROUP = 128  # number of tiles that are processed together
STEP = 32  # number of Gaussians per tile that one step blends


class _Tiles(NamedTuple):
    """The Gaussians of each tile of one camera, front to back."""

    ids: Tensor  # [I], indices of Gaussians, tile by tile
    begin: Tensor  # [tiles], where the tile's part of `ids` begins
    length: Tensor  # [tiles], length of that part
    across: int  # tiles per row
    down: int  # tiles per column


@torch.no_grad()
def _bin(means2d: Tensor, factors: Tensor, opacities: Tensor, depths: Tensor, radii: Tensor, size: Size) -> _Tiles:
    """Assign the visible Gaussians of one camera to tiles. Arguments as in `composite`, for one camera."""
    visible = ((radii > 0).all(-1) & (opacities >= ALPHA_MIN)).nonzero()[:, 0]
    visible = visible[torch.argsort(depths[visible].float(), stable=True)]
    m, factor = means2d[visible], factors[visible]
    # alpha >= 1/255 holds in the ellipse 2 sigma <= level, with sigma as in kernel.cpp. The box around it is a little
    # larger, to cover rounding errors. The test of each pixel decides.
    level = 2 * torch.log(opacities[visible] * 255).clamp_min(0) * 1.0005 + 1e-3
    var_y = factor[:, 2] ** -2
    var_x = factor[:, 0] ** -2 + factor[:, 1] ** 2 * var_y
    extent = (level[:, None] * torch.stack([var_x, var_y], -1)).sqrt() * 1.0005 + 1e-3
    last = torch.tensor(size) - 1
    low = torch.ceil(m - extent - 0.5).clamp(-1, 1e8).long().clamp_min(0)
    high = torch.minimum(torch.floor(m + extent - 0.5).clamp(-1, 1e8).long(), last)
    has_pixels = (low <= high).all(-1, keepdim=True)
    first = low // TILE
    spans = torch.where(has_pixels, high // TILE + 1 - first, 0)
    areas = spans.prod(-1)

    # All pairs of a Gaussian and a tile of its box. Pairs whose ellipse reaches the tile are kept, sorted by tile.
    owner = torch.repeat_interleave(torch.arange(len(visible)), areas)
    within = torch.arange(len(owner)) - (areas.cumsum(0) - areas)[owner]
    tile = first[owner] + torch.stack([within % spans[owner, 0], within // spans[owner, 0]], -1)
    reaches = _reaches(m[owner], factor[owner], level[owner], tile)
    across, down = -(-size[0] // TILE), -(-size[1] // TILE)
    number, owner = (tile[:, 1] * across + tile[:, 0])[reaches], owner[reaches]
    count = torch.bincount(number, minlength=across * down)
    return _Tiles(visible[owner[torch.argsort(number, stable=True)]], count.cumsum(0) - count, count, across, down)


def _reaches(m: Tensor, factor: Tensor, level: Tensor, tile: Tensor) -> Tensor:
    """Whether 2 sigma <= level somewhere in the tile, for pairs of a Gaussian and a tile.

    Unless the mean is inside, the minimum of sigma lies on an edge that faces the mean.
    """
    low = tile * TILE + 0.5 - m
    high = low + (TILE - 1)
    near = torch.where(low > 0, low, torch.where(high < 0, high, 0.0))
    (x0, y0), (x1, y1), (x, y) = low.unbind(-1), high.unbind(-1), near.unbind(-1)
    root_x, shear, root_y = factor.unbind(-1)

    def form(x: Tensor, y: Tensor) -> Tensor:
        return (root_x * (x - shear * y)) ** 2 + (root_y * y) ** 2

    slope = root_x**2 * shear / ((root_x * shear) ** 2 + root_y**2)
    on_x = torch.where(x != 0, form(x, torch.minimum(torch.maximum(slope * x, y0), y1)), torch.inf)
    on_y = torch.where(y != 0, form(torch.minimum(torch.maximum(shear * y, x0), x1), y), torch.inf)
    return ((x == 0) & (y == 0)) | (torch.minimum(on_x, on_y) <= level)


def composite(
    means2d: Tensor, factors: Tensor, opacities: Tensor, colours: Tensor, depths: Tensor, radii: Tensor, size: Size
) -> tuple[Tensor, Tensor]:
    """See cpu.composite."""
    images = []
    cameras = zip(means2d, factors, opacities, colours, depths, radii, strict=True)
    for mean, factor, opacity, colour, depth, radius in cameras:
        tiles = _bin(mean, factor, opacity, depth, radius, size)
        images.append(_composite(torch.cat([mean, factor, opacity[:, None], colour], -1), tiles, size))
    image, alpha = torch.stack(images).split([4, 1], -1)
    return image, alpha


def _composite(gaussians: Tensor, tiles: _Tiles, size: Size) -> Tensor:
    """The image of one camera, [h, w, 5]: colour, depth and alpha.

    gaussians: [N, 10], mean (2), factor (3), opacity (1), colour and depth (4).
    """
    count, area = tiles.across * tiles.down, TILE * TILE
    # Adding 0 times the Gaussians gives an empty image gradients too. Culled Gaussians have mean and factor 0, not NaN.
    sums = gaussians.new_zeros(count, 5, area) + 0 * gaussians[:, :5].sum()
    # One more Gaussian, a transparent one, is for tiles that have no more.
    ids, gaussians = F.pad(tiles.ids, (0, 1), value=len(gaussians)), F.pad(gaussians, (0, 0, 0, 1))
    order = torch.argsort(tiles.length, descending=True)
    order = order[: int((tiles.length > 0).sum())]
    for first in range(0, len(order), GROUP):
        group, start = order[first : first + GROUP], 0
        transmittance = gaussians.new_ones(len(group), area)
        while len(group):
            # The next Gaussians of each tile.
            corner = torch.stack([group % tiles.across, group // tiles.across], -1) * TILE
            position, begin = start + torch.arange(STEP), tiles.begin[group, None]
            index = torch.where(position < tiles.length[group, None], begin + position, -1)
            arguments = (gaussians[ids[index]], corner, transmittance)
            added, transmittance = checkpoint(_step, *arguments, use_reentrant=False, preserve_rng_state=False)
            sums.index_add_(0, group, added)
            # Tiles whose pixels are complete, or which have no more Gaussians, leave the group.
            start += STEP
            goes_on = (transmittance > TRANSMITTANCE_MIN).any(-1) & (tiles.length[group] > start)
            group, transmittance = group[goes_on], transmittance[goes_on]
    image = sums.reshape(tiles.down, tiles.across, 5, TILE, TILE).permute(0, 3, 1, 4, 2)
    return image.reshape(tiles.down * TILE, tiles.across * TILE, 5)[: size[1], : size[0]]


def _step(gaussians: Tensor, corner: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """Blend STEP Gaussians in each of G tiles of P pixels: contributions [G, 5, P], new transmittance [G, P].

    The fifth channel is alpha.
    gaussians: [G, STEP, 10], as in `_composite`.  corner: [G, 2], first pixel of each tile.
    before: [G, P], transmittance before these Gaussians.
    """
    y, x = torch.meshgrid(torch.arange(TILE), torch.arange(TILE), indexing="ij")
    pixels = torch.stack([x, y], -1).reshape(-1, 2).to(gaussians.dtype) + 0.5
    mean, factor, opacity, colour = gaussians.split([2, 3, 1, 4], -1)
    root_x, shear, root_y = factor[:, :, None].unbind(-1)
    dx, dy = (pixels - (mean - corner[:, None])[:, :, None]).unbind(-1)
    unclamped = opacity * torch.exp(-0.5 * ((root_x * (dx - shear * dy)) ** 2 + (root_y * dy) ** 2))
    alpha = torch.where(unclamped >= ALPHA_MIN, unclamped.clamp_max(ALPHA_MAX), 0.0)
    after = torch.cumprod(1 - alpha, 1) * before[:, None]
    is_open = after > TRANSMITTANCE_MIN
    weight = torch.where(is_open, alpha * torch.cat([before[:, None], after[:, :-1]], 1), 0.0)
    return torch.bmm(F.pad(colour, (0, 1), value=1.0).mT, weight), after[:, -1]
