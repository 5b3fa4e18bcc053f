"""The compositing of `fallback.py`: tiles of one camera walked front to back, in torch.

Tiles of similar length are walked together, and each step composites the next few Gaussians of every tile of a group at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

ALPHA_MIN, ALPHA_MAX, TRANSMITTANCE_MIN = 1.0 / 255.0, 0.999, 1e-4
TILE = 8  # small tiles waste fewer pixels, and there is no cost per tile here
GROUP = 128  # tiles walked together
STEP = 32  # Gaussians composited at once


class _Tiles(NamedTuple):
    """The Gaussians of each tile of one camera, front to back."""

    ids: Tensor  # [I] Gaussians, tile by tile
    begin: Tensor  # [tiles] where a tile's ids begin
    length: Tensor  # [tiles]
    across: int
    down: int


@torch.no_grad()
def _bin(means2d: Tensor, factors: Tensor, opacities: Tensor, depths: Tensor, radii: Tensor, size: tuple[int, int]) -> _Tiles:
    visible = ((radii > 0).all(-1) & (opacities >= ALPHA_MIN)).nonzero()[:, 0]
    visible = visible[torch.argsort(depths[visible].float(), stable=True)]
    m, factor = means2d[visible], factors[visible]
    # alpha >= 1/255 inside 2 sigma <= level; the slack covers rounding, the pixel test decides.
    level = 2 * torch.log(opacities[visible] * 255).clamp_min(0) * 1.0005 + 1e-3
    var_y = factor[:, 2] ** -2
    var_x = factor[:, 0] ** -2 + factor[:, 1] ** 2 * var_y
    extent = (level[:, None] * torch.stack([var_x, var_y], -1)).sqrt() * 1.0005 + 1e-3
    last = torch.tensor(size) - 1
    low = torch.ceil(m - extent - 0.5).clamp(-1, 1e8).long().clamp_min(0)
    high = torch.minimum(torch.floor(m + extent - 0.5).clamp(-1, 1e8).long(), last)
    some = (low <= high).all(-1, keepdim=True)
    first = low // TILE
    spans = torch.where(some, high // TILE + 1 - first, 0)
    areas = spans.prod(-1)

    owner = torch.repeat_interleave(torch.arange(len(visible)), areas)
    within = torch.arange(len(owner)) - (areas.cumsum(0) - areas)[owner]
    tile = first[owner] + torch.stack([within % spans[owner, 0], within // spans[owner, 0]], -1)
    hit = _reaches(m[owner], factor[owner], level[owner], tile)
    across, down = -(-size[0] // TILE), -(-size[1] // TILE)
    number, owner = (tile[:, 1] * across + tile[:, 0])[hit], owner[hit]
    count = torch.bincount(number, minlength=across * down)
    return _Tiles(visible[owner[torch.argsort(number, stable=True)]], count.cumsum(0) - count, count, across, down)


def _reaches(m: Tensor, factor: Tensor, level: Tensor, tile: Tensor) -> Tensor:
    """Whether 2 sigma <= level somewhere on the tile's pixel centres: the minimum lies on an edge that faces the mean."""
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


class _Step(NamedTuple):
    """STEP Gaussians of each of G tiles at their P pixels."""

    ids: Tensor  # [G, S]
    valid: Tensor  # [G, S]
    t: Tensor  # [G, S, P] dx - shear dy, where dx and dy are the distances from the mean
    dy: Tensor  # [G, S, P]
    uncut: Tensor  # [G, S, P] alpha before the cut to 0.999
    alpha: Tensor  # [G, S, P], 0 where below 1/255
    colour: Tensor  # [G, S, D]


class _Camera(NamedTuple):
    """What one camera composites."""

    means2d: Tensor
    factors: Tensor
    opacities: Tensor
    colours: Tensor
    tiles: _Tiles
    pixels: Tensor  # [P, 2] pixel centres of a tile

    def step(self, tiles: Tensor, start: int) -> _Step:
        position = start + torch.arange(STEP)
        valid = position < self.tiles.length[tiles][:, None]
        index = (self.tiles.begin[tiles][:, None] + position).clamp_max(len(self.tiles.ids) - 1)
        ids = self.tiles.ids[index]
        corner = torch.stack([tiles % self.tiles.across, tiles // self.tiles.across], -1) * TILE
        d = self.pixels - (self.means2d[ids] - corner[:, None])[:, :, None]
        root_x, shear, root_y = self.factors[ids][..., None, :].unbind(-1)
        dy = d[..., 1]
        t = d[..., 0] - shear * dy
        sigma = 0.5 * ((root_x * t) ** 2 + (root_y * dy) ** 2)
        uncut = torch.exp(-sigma) * torch.where(valid, self.opacities[ids], 0.0)[..., None]
        alpha = torch.where(uncut >= ALPHA_MIN, uncut.clamp_max(ALPHA_MAX), 0.0)
        return _Step(ids, valid, t, dy, uncut, alpha, self.colours[ids])


def _camera(means2d: Tensor, factors: Tensor, opacities: Tensor, colours: Tensor, tiles: _Tiles) -> _Camera:
    y, x = torch.meshgrid(torch.arange(TILE), torch.arange(TILE), indexing="ij")
    pixels = torch.stack([x, y], -1).reshape(-1, 2).to(means2d.dtype) + 0.5
    return _Camera(means2d, factors, opacities, colours, tiles, pixels)


def _groups(tiles: _Tiles) -> tuple[Tensor, ...]:
    """Tiles with work, in groups of similar length."""
    order = torch.argsort(tiles.length, descending=True)
    order = order[: int((tiles.length > 0).sum())]
    return torch.split(order, GROUP) if len(order) else ()


def _transmittance(alpha: Tensor, before: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """T after and before each Gaussian [G, S, P], and whether the pixel is still open after it; `before` [G, P] enters."""
    after = torch.cumprod(1 - alpha, 1) * before[:, None]
    return after, torch.cat([before[:, None], after[:, :-1]], 1), after > TRANSMITTANCE_MIN


class _Composite(torch.autograd.Function):
    """One camera. The backward walks the same steps again and keeps nothing but the image."""

    @staticmethod
    def forward(ctx: Any, means2d: Tensor, factors: Tensor, opacities: Tensor, colours: Tensor, background: Tensor | None, tiles: _Tiles,
                size: tuple[int, int], whole_means2d: Tensor | None, index: int) -> tuple[Tensor, Tensor]:  # fmt: skip
        camera = _camera(means2d, factors, opacities, colours, tiles)
        number, channels, area = tiles.across * tiles.down, colours.shape[1], TILE * TILE
        sums, rest = means2d.new_zeros(number, channels, area), means2d.new_ones(number, area)
        for group in _groups(tiles):
            entering, start = means2d.new_ones(len(group), area), 0
            while len(group):
                step = camera.step(group, start)
                after, before, is_open = _transmittance(step.alpha, entering)
                sums[group] += torch.bmm(step.colour.mT, torch.where(is_open, step.alpha * before, 0.0))
                rest[group] = torch.minimum(rest[group], torch.where(is_open, after, torch.inf).amin(1))
                start += STEP
                goes_on = is_open[:, -1].any(-1) & (tiles.length[group] > start)
                group, entering = group[goes_on], after[goes_on, -1]
        image, rest = _to_image(sums, tiles, size), _to_image(rest[:, None], tiles, size)
        if background is not None:
            image = image + rest * background
        alpha = 1 - rest
        ctx.save_for_backward(means2d, factors, opacities, colours, background, image, alpha)
        ctx.tiles, ctx.whole_means2d, ctx.index = tiles, whole_means2d, index
        return image, alpha

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_image: Tensor, v_alpha: Tensor) -> tuple[Tensor | None, ...]:
        means2d, factors, opacities, colours, background, image, alpha = ctx.saved_tensors
        tiles: _Tiles = ctx.tiles
        camera = _camera(means2d, factors, opacities, colours, tiles)
        # dL/dalpha_i = T (colour . G) - R / (1 - alpha_i); R, the weighted radiance behind i, starts at image . G (kernel.cpp).
        remaining = _to_tiles((image * v_image).sum(-1, keepdim=True) - (1 - alpha) * v_alpha, tiles)[:, 0]
        v_pixels = _to_tiles(v_image, tiles)
        sums = means2d.new_zeros(len(means2d), 8 + colours.shape[1])
        for group in _groups(tiles):
            entering, behind, start = means2d.new_ones(len(group), TILE * TILE), remaining[group], 0
            while len(group):
                step = camera.step(group, start)
                after, before, is_open = _transmittance(step.alpha, entering)
                weight, wanted = torch.where(is_open, step.alpha * before, 0.0), v_pixels[group]
                shade = torch.bmm(step.colour, wanted)
                behind_each = behind[:, None] - torch.cumsum(weight * shade, 1)
                v_step = before * shade - behind_each / (1 - step.alpha)
                q = torch.where(is_open & (step.alpha > 0) & (step.uncut <= ALPHA_MAX), -step.alpha * v_step, 0.0)
                moments = torch.cat([_moments(camera, step, q, ctx.whole_means2d is not None), torch.bmm(weight, wanted.mT)], -1)
                sums.index_add_(0, step.ids[step.valid], moments[step.valid])
                start += STEP
                goes_on = is_open[:, -1].any(-1) & (tiles.length[group] > start)
                group, entering, behind = group[goes_on], after[goes_on, -1], behind_each[goes_on, -1]
        (root_x, shear, root_y), (s, st, sy, stt, sty, syy) = factors.unbind(-1), sums[:, :6].unbind(-1)
        by_t = root_x**2 * st
        v_means2d = torch.stack([-by_t, shear * by_t - root_y**2 * sy], -1)
        v_factors = torch.stack([root_x * stt, -(root_x**2) * sty, root_y * syy], -1)
        v_opacities = torch.where(s != 0, -s / opacities.clamp_min(1e-12), 0.0)
        if ctx.whole_means2d is not None:
            whole = ctx.whole_means2d
            if getattr(whole, "absgrad", None) is None:
                whole.absgrad = torch.zeros_like(whole)
            whole.absgrad[ctx.index] = sums[:, 6:8]
        v_background = ((1 - alpha) * v_image).sum((0, 1)) if background is not None else None
        return v_means2d, v_factors, v_opacities, sums[:, 8:], v_background, None, None, None, None


def _moments(camera: _Camera, step: _Step, q: Tensor, absgrad: bool) -> Tensor:
    """Sums over pixels of q (1, t, dy, t^2, t dy, dy^2) and, if asked, of the absolute gradient by the projected mean, [G, S, 8]."""
    qt, qy = q * step.t, q * step.dy
    columns = [q.sum(-1), qt.sum(-1), qy.sum(-1), (qt * step.t).sum(-1), (qt * step.dy).sum(-1), (qy * step.dy).sum(-1)]
    if absgrad:
        root_x, shear, root_y = camera.factors[step.ids][..., None, :].unbind(-1)
        by_t = root_x**2 * qt
        columns += [by_t.abs().sum(-1), (shear * by_t - root_y**2 * qy).abs().sum(-1)]
    else:
        columns += [torch.zeros_like(columns[0])] * 2
    return torch.stack(columns, -1)


def _to_image(x: Tensor, tiles: _Tiles, size: tuple[int, int]) -> Tensor:
    """[tiles, D, P] -> [h, w, D]."""
    x = x.reshape(tiles.down, tiles.across, -1, TILE, TILE).permute(0, 3, 1, 4, 2)
    return x.reshape(tiles.down * TILE, tiles.across * TILE, -1)[: size[1], : size[0]].contiguous()


def _to_tiles(x: Tensor, tiles: _Tiles) -> Tensor:
    """[h, w, D] -> [tiles, D, P], zeros outside the image."""
    x = F.pad(x, (0, 0, 0, tiles.across * TILE - x.shape[1], 0, tiles.down * TILE - x.shape[0]))
    x = x.reshape(tiles.down, TILE, tiles.across, TILE, -1).permute(0, 2, 4, 1, 3)
    return x.reshape(tiles.down * tiles.across, -1, TILE * TILE)


def composite(
    means2d: Tensor,
    factors: Tensor,
    opacities: Tensor,
    colours: Tensor,
    backgrounds: Tensor | None,
    depths: Tensor,
    radii: Tensor,
    size: tuple[int, int],
    absgrad: bool,
) -> tuple[Tensor, Tensor]:
    """As cpu.composite."""
    images, alphas = [], []
    for i in range(len(means2d)):
        tiles = _bin(means2d[i], factors[i], opacities[i], depths[i], radii[i], size)
        behind = None if backgrounds is None else backgrounds[i]
        whole = means2d if absgrad else None
        image, alpha = _Composite.apply(means2d[i], factors[i], opacities[i], colours[i], behind, tiles, size, whole, i)
        images.append(image)
        alphas.append(alpha)
    return torch.stack(images), torch.stack(alphas)
