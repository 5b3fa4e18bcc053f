"""Fewer Gaussians for the same scene: invisible ones are dropped, and neighbours are merged if the budget asks for it.

The prior puts one Gaussian on each pixel of each photograph, so a surface that both saw is covered twice. If the budget
allows it, both Gaussians stay, because a Gaussian merged from two can no longer move along the ray of either.
"""

import torch
from torch import Tensor

from stages.errors import InputError
from stages.geometry import depth_of, distance_to_cameras, quaternions, rotations
from stages.scene import Cameras, Gaussians

TRANSPARENT = 1 / 255  # Gaussians of lower opacity are dropped; the renderer skips them
# First width of a cell, as a share of a pixel's width. Less than 1 keeps the Gaussians of adjacent pixels apart.
CELL = 0.7
GROWTH = 1.2  # factor by which cells grow until the budget is met
LEVELS = 4  # cell sizes per doubling of the distance
MAX_OPACITY = 0.99  # largest opacity of a merged Gaussian
EIGEN_BATCH = 16_384  # covariances decomposed in one call: cuSOLVER refuses more than about 32,000


def thin(gaussians: Gaussians, cameras: Cameras, budget: int) -> tuple[Gaussians, Tensor]:
    """Drop transparent Gaussians and those behind every camera. If more than `budget` remain, merge neighbours.

    cameras: the targets' cameras.  Returns M Gaussians and, for each, the index [M] of an input Gaussian that it is or
    contains. Gaussians are merged if they share a cell, a cube about as wide as a pixel at its distance. Cells grow
    until the budget is met. Raises InputError when no Gaussian remains.
    """
    in_front = depth_of(gaussians.means, cameras.c2w.to(gaussians.means)).amax(0) > 0
    visible = (gaussians.opacities >= TRANSPARENT) & in_front
    if not bool(visible.any()):
        why = "no Gaussian is visible in front of a camera"
        raise InputError("nothing to reconstruct from", why, "make the prior of the scene again")
    index = torch.nonzero(visible)[:, 0]
    g = gaussians[index]
    if len(g) <= budget:
        return g, index
    pixel = distance_to_cameras(g.means, cameras) / float(cameras.K[:, 0, 0].mean())
    size = CELL
    while True:
        cell, count = _cells(g.means, pixel, size)
        if count <= budget:
            smaller, first = _merge(g, cell, count)
            return smaller, index[first]
        size *= GROWTH


def _cells(means: Tensor, pixel: Tensor, size: float) -> tuple[Tensor, int]:
    """For each Gaussian the index [G] of the cell that it lies in, and how many cells hold Gaussians.

    means: [G, 3].  pixel: [G], width of a pixel at each mean, scene units.  size: width of a cell, pixels.
    """
    level = torch.floor(torch.log2(pixel) * LEVELS)
    index = torch.floor(means / (size * torch.exp2(level / LEVELS))[:, None]).long()
    number, count = torch.zeros_like(level, dtype=torch.long), 1
    # Number the distinct rows (level, x, y, z), column by column, which is 20 times faster than torch.unique of rows.
    for column in (level.long(), *index.unbind(1)):
        column = column - column.min()
        cells, number = torch.unique(number * (column.max() + 1) + column, return_inverse=True)
        count = len(cells)
    return number, count


def _merge(g: Gaussians, cell: Tensor, count: int) -> tuple[Gaussians, Tensor]:
    """Merge the Gaussians of each cell, its members, into one Gaussian that has their mean, covariance and mass.

    cell: [G], the index of each Gaussian's cell.  count: the number of cells.
    Returns one Gaussian per cell, and the index [count] of the first member of each cell.
    Source: Kerbl et al. 2024 (hierarchical 3D Gaussians), section 4.1. The mass of a member is its opacity times its
    squared size, and the size is the geometric mean of its scales. A Gaussian that is alone in its cell stays as it is.
    """
    # The share of each member in the mass of its cell.
    area = g.scales.log().mean(1).exp() ** 2
    mass = (g.opacities * area).double()
    total = mass.new_zeros(count).index_add(0, cell, mass)
    share = mass / total[cell]

    def mean(values: Tensor) -> Tensor:
        flat = values.double().flatten(1)
        sums = flat.new_zeros(count, flat.shape[1]).index_add(0, cell, flat * share[:, None])
        return sums.view(count, *values.shape[1:])

    # Means, and the covariance of the mixture of the members.
    means, sh = mean(g.means), mean(g.sh)
    rotation = rotations(g.quats.double())
    offset = g.means.double() - means[cell]
    spread = rotation @ torch.diag_embed(g.scales.double() ** 2) @ rotation.mT
    covariance = mean(spread + offset[:, :, None] * offset[:, None, :])
    # Scales and rotation of that covariance. Eigenvectors may form a reflection, which the determinant undoes.
    parts = [torch.linalg.eigh(part) for part in covariance.split(EIGEN_BATCH)]
    variances, axes = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
    axes = axes * torch.linalg.det(axes)[:, None, None]
    scales, quats = variances.clamp_min(1e-20).sqrt(), quaternions(axes)
    opacities = (total / scales.log().mean(1).exp() ** 2).clamp_max(MAX_OPACITY)
    # Cells with one member.
    order = torch.arange(len(g), device=cell.device)
    first = torch.full((count,), len(g), device=cell.device).scatter_reduce(0, cell, order, "amin")
    single = torch.bincount(cell, minlength=count) == 1
    g = g[first[single]]
    tensors = (means, scales, quats, opacities, sh)
    for values, value in zip(tensors, (g.means, g.scales, g.quats, g.opacities, g.sh), strict=True):
        values[single] = value.to(values)
    return Gaussians(*(x.to(g.means) for x in tensors)), first
