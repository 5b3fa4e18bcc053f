"""Views of a finished scene: the path round it, its depth as pictures, its Gaussians as points."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.geometry import distance_to_cameras, project
from stages.scene import Cameras, Gaussians
from stages.splat import NEAR, draw
from stages.trajectory import orbit

SOLID = 0.5  # opacity of a Gaussian that stands for a point of a surface
POINTS = 20_000


def orbit_of(gaussians: Gaussians, cameras: Cameras, frames: int) -> Cameras:
    """An orbit between the first two cameras, about what they see."""
    _, z = project(gaussians.means.double().cpu(), cameras.K[0].double(), cameras.c2w[0].double())
    return orbit(cameras[[0, 1]], float(z[z > 0].median()), frames)


@torch.no_grad()
def depth_pictures(gaussians: Gaussians, cameras: Cameras) -> Tensor:
    """Inverse depth as grey, white the nearest hundredth and black infinitely far or empty; one scale for all. [N, 3, h, w]."""
    drawing = draw(gaussians, cameras, near=NEAR * float(distance_to_cameras(gaussians.means, cameras).median()))
    inverse = torch.where(drawing.alpha > 0.5, 1 / drawing.depth.clamp_min(1e-6), 0.0)
    known = inverse[inverse > 0]
    if len(known):
        inverse = inverse / torch.sort(known).values[int(0.99 * (len(known) - 1))]
    return inverse.clamp(0, 1)[:, None].expand(-1, 3, -1, -1)


def points_of(gaussians: Gaussians) -> tuple[Tensor, Tensor]:
    """Solid Gaussians as points: positions [P, 3] and colours [P, 3] in [0, 1], evenly chosen, at most POINTS."""
    solid = torch.nonzero(gaussians.opacities >= SOLID)[:, 0]
    chosen = solid[:: max(1, -(-len(solid) // POINTS))]
    return gaussians.means[chosen], gaussians.colours[chosen].clamp(0, 1)
