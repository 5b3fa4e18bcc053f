"""Other views of a finished scene: an orbit about it, its depth as grey images, its Gaussians as points."""

import torch
from torch import Tensor

from stages.geometry import project
from stages.scene import Cameras, Gaussians
from stages.splat import draw
from stages.trajectory import orbit

SOLID = 0.5  # a Gaussian of at least this opacity counts as a point of a surface
POINTS = 20_000  # largest number of points


def orbit_of(gaussians: Gaussians, cameras: Cameras, frames: int) -> Cameras:
    """An orbit between the first two cameras, about a pivot at the median depth of what the first one sees."""
    _, z = project(gaussians.means.double().cpu(), cameras.K[0].double().cpu(), cameras.c2w[0].double().cpu())
    return orbit(cameras[[0, 1]], float(z[z > 0].median()), frames)


@torch.no_grad()
def depth_pictures(gaussians: Gaussians, cameras: Cameras) -> Tensor:
    """Inverse depth as grey images, [N, 3, h, w], on one scale: the nearest 1 % is white, empty pixels are black."""
    drawing = draw(gaussians, cameras)
    inverse = torch.where(drawing.alpha > 0.5, 1 / drawing.depth.clamp_min(1e-6), 0.0)
    values = inverse[inverse > 0]
    if len(values):
        inverse = inverse / torch.sort(values).values[int(0.99 * (len(values) - 1))]
    return inverse.clamp(0, 1)[:, None].expand(-1, 3, -1, -1)


def points_of(gaussians: Gaussians) -> tuple[Tensor, Tensor]:
    """Up to POINTS of the solid Gaussians as points: positions [P, 3] and colours [P, 3] in [0, 1]."""
    solid = torch.nonzero(gaussians.opacities >= SOLID)[:, 0]
    points = solid[:: max(1, -(-len(solid) // POINTS))]
    return gaussians.means[points], gaussians.colours[points].clamp(0, 1)
