"""In which directions a Gaussian may move, and how far.

Depth is what a prior gets wrong and what two photographs taken close together say little about. In equal steps in all directions depths
would hardly move, and other views than the photographs would gain a third as much. So a position moves in pixels of parallax along the ray
on which it was seen, and sideways in units of its distance, where 3DGS takes the radius of the camera path. What moves away along its ray
grows with its distance, so that it looks the same from where it was seen; or else depths would be moved to sharpen that photograph.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stages.scene import Cameras, Gaussians

LONGEST = 0.1  # of the distance: a pixel of parallax is more where the photographs are close together


def origins(gaussians: Gaussians, photographs: Cameras) -> Tensor:
    """From where each Gaussian was seen, [G, 3]: the camera of its photograph, or the nearest one where that is not known."""
    centres = photographs.c2w[:, :3, 3].to(gaussians.means)
    if gaussians.photograph is None or len(photographs) != 2:
        return centres[torch.cdist(gaussians.means, centres).argmin(1)]
    return centres[gaussians.photograph.long()]


def moves(means: Tensor, seen_from: Tensor, photographs: Cameras) -> Tensor:
    """The unit moves of each Gaussian as the columns of a matrix [G, 3, 3]: twice sideways, then along its ray; scene units.

    seen_from: [G, 3].  Sideways the unit is the distance; along the ray, what shifts the Gaussian by one pixel in the photograph farthest
    from where it was seen, z^2 / (f b) with baseline b.
    """
    ray = means - seen_from
    distance = ray.norm(dim=1, keepdim=True).clamp_min(1e-9)
    ray = ray / distance
    baseline = torch.cdist(seen_from, photographs.c2w[:, :3, 3].to(means)).amax(1, keepdim=True)
    focal = photographs.K[:, 0, 0].mean().to(means)
    along = (distance**2 / (focal * baseline).clamp_min(1e-12)).minimum(LONGEST * distance)
    # Any two directions across the ray: the axis that it is least along, made perpendicular, and the cross product.
    least = torch.nn.functional.one_hot(ray.abs().argmin(1), 3).to(ray)
    first = torch.nn.functional.normalize(least - (least * ray).sum(1, keepdim=True) * ray, dim=1)
    second = torch.linalg.cross(ray, first)
    return torch.stack([distance * first, distance * second, along * ray], 2)


def to_moves(moves: Tensor, by_mean: Tensor, by_log_scale: Tensor) -> Tensor:
    """Gradients [G, 3] by the unit moves, from those by the means [G, 3] and by the logarithms of the scales [G, 3]."""
    gradient = (moves.mT @ by_mean[:, :, None])[..., 0]
    gradient[:, 2] += _growth(moves) * by_log_scale.sum(1)
    return gradient


def from_moves(moves: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
    """What a change [G, 3] in unit moves adds to the means, [G, 3], and to the logarithms of all scales, [G, 1]."""
    return (moves @ change[:, :, None])[..., 0], (_growth(moves) * change[:, 2])[:, None]


def _growth(moves: Tensor) -> Tensor:
    """By how much a unit move along the ray changes the logarithm of the distance, [G]; sideways the unit is the distance."""
    return moves[:, :, 2].norm(dim=1) / moves[:, :, 0].norm(dim=1)
