"""Fewer Gaussians that draw the same: the transparent dropped, those of one spot merged.

A prior puts one Gaussian on each pixel of each photograph, so a surface that both saw is covered twice. Within the budget that is left as
it is: a Gaussian that stands for two can no longer move along the ray of either.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stages.errors import InputError
from stages.geometry import depth_of, distance_to_cameras, quaternions, rotations
from stages.scene import Cameras, Gaussians

TRANSPARENT = 1 / 255  # the renderer skips what is fainter
CELL = 0.7  # of the width of a pixel, so that the pixels of one photograph keep a Gaussian each, towards the corners too
GROWTH = 1.2  # of the cells, until the budget is met
LEVELS = 4  # sizes of cells an octave of distance
MAX_OPACITY = 0.99


def thin(gaussians: Gaussians, cameras: Cameras, budget: int) -> tuple[Gaussians, Tensor]:
    """At most `budget` Gaussians: the transparent and the ones behind every camera dropped, and if more are left, neighbours merged.

    cameras: of the targets. Returns them and, for each, which of the given ones it is or has in it, [G]. Merged are those that share a
    cell, a cube of about a pixel's width at its distance, larger only if the budget asks for it. Raises InputError when none is left.
    """
    seen = (gaussians.opacities >= TRANSPARENT) & _in_front(gaussians.means, cameras)
    if not bool(seen.any()):
        raise InputError("nothing to reconstruct from", "no Gaussian is visible in front of a camera", "make the prior of the scene again")
    present = torch.nonzero(seen)[:, 0]
    g = gaussians[present]
    if len(g) <= budget:
        return g, present
    pixel = distance_to_cameras(g.means, cameras) / float(cameras.K[:, 0, 0].mean())
    size = CELL
    while True:
        cell, count = _cells(g.means, pixel, size)
        if count <= budget:
            merged, first = _merge(g, cell, count)
            return merged, present[first]
        size *= GROWTH


def _in_front(means: Tensor, cameras: Cameras) -> Tensor:
    return depth_of(means, cameras.c2w.to(means)).amax(0) > 0


def _cells(means: Tensor, pixel: Tensor, size: float) -> tuple[Tensor, int]:
    """The number of each Gaussian's cell [G], and how many cells there are. pixel: what a pixel covers at each mean, scene units."""
    level = torch.floor(torch.log2(pixel) * LEVELS)
    index = torch.floor(means / (size * torch.exp2(level / LEVELS))[:, None]).long()
    number, count = torch.zeros_like(level, dtype=torch.long), 1
    for column in (level.long(), *index.unbind(1)):  # one column at a time: 20 times faster than unique rows
        column = column - column.min()
        cells, number = torch.unique(number * (column.max() + 1) + column, return_inverse=True)
        count = len(cells)
    return number, count


def _merge(g: Gaussians, cell: Tensor, count: int) -> tuple[Gaussians, Tensor]:
    """One Gaussian a cell, with the mean, covariance and mass of its members (Kerbl et al. 2024, sec. 4.1), and its first member, [count].

    Members weigh as much as they cover, opacity times squared size; singles stay as they are.
    """
    area = g.scales.log().mean(1).exp() ** 2
    mass = (g.opacities * area).double()
    total = mass.new_zeros(count).index_add(0, cell, mass)
    share = mass / total[cell]

    def mean(values: Tensor) -> Tensor:
        flat = values.double().flatten(1)
        return flat.new_zeros(count, flat.shape[1]).index_add(0, cell, flat * share[:, None]).view(count, *values.shape[1:])

    members = torch.bincount(cell, minlength=count)
    means, sh = mean(g.means), mean(g.sh)
    rotation = rotations(g.quats.double())
    offset = g.means.double() - means[cell]
    covariance = mean(rotation @ torch.diag_embed(g.scales.double() ** 2) @ rotation.mT + offset[:, :, None] * offset[:, None, :])
    variances, axes = torch.linalg.eigh(covariance)
    axes = axes * torch.linalg.det(axes)[:, None, None]  # eigenvectors may form a mirror
    scales, quats = variances.clamp_min(1e-20).sqrt(), quaternions(axes)
    opacities = (total / scales.log().mean(1).exp() ** 2).clamp_max(MAX_OPACITY)
    first = torch.full((count,), len(g), device=cell.device).scatter_reduce(0, cell, torch.arange(len(g), device=cell.device), "amin")
    single = members == 1
    own = g[first[single]]
    for merged, kept in ((means, own.means), (scales, own.scales), (quats, own.quats), (opacities, own.opacities), (sh, own.sh)):
        merged[single] = kept.to(merged)
    return Gaussians(*(x.to(g.means) for x in (means, scales, quats, opacities, sh))), first
