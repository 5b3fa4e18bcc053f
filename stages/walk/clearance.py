"""How near the cameras of a path come to the surfaces of the scene.

The clearance of a camera is the radius around it within which opaque surface of a certain area lies. One Gaussian that
floats in the air has too little area to count. Lengths are shares of the scene's depth, which is the median distance of
the Gaussians from their own photograph, because the unit of a scene may be of any size.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.scene import Cameras, Gaussians

FARTHEST = 0.25  # a larger clearance is not measured
BINS = 64  # number of steps in which clearance is measured, from 0 to FARTHEST
AREA = math.pi * 0.03**2  # area of surface that counts: that of a disc with a radius of 3 % of the scene's depth
SAMPLE = 8192  # about how many of the Gaussians near the path are looked at; they are evenly chosen
MOST_STOPS = 16  # largest number of positions from one camera to the next at which clearance is measured
GROUP = 256  # number of positions measured at a time, so that long paths need no more memory
EXACT = "donot_use_mm_for_euclid_dist"  # keeps torch.cdist from a matrix product, which rounds small distances


@dataclass(frozen=True, eq=False)
class Surfaces:
    """The opaque surfaces around a path.

    points: [P, 3], centres of a sample of the Gaussians, scene units.
    area: [P], the opaque area that each of them stands for, as a share of the squared depth.
    photograph: [P], the photograph that shows each of them, or None if unknown.
    depth: the scene's depth, scene units; 1 if the scene is empty.
    """

    points: Tensor
    area: Tensor
    photograph: Tensor | None
    depth: float

    def clearance(self, positions: Tensor) -> Tensor:
        """The clearance at each position, at most FARTHEST. positions: [..., 3], scene units.  Returns [...]."""
        groups = positions.reshape(-1, 3).to(self.points).split(GROUP)
        return torch.cat([self._clearance(group) for group in groups]).view(positions.shape[:-1]).cpu()

    def _clearance(self, positions: Tensor) -> Tensor:
        """`clearance` for positions [N, 3]."""
        distance = torch.cdist(positions, self.points, compute_mode=EXACT) / self.depth
        ring = (distance * (BINS / FARTHEST)).clamp_max(BINS).long()  # the last ring is what lies farther away
        rings = distance.new_zeros(len(positions), BINS + 1)
        within = rings.scatter_add(1, ring, self.area.expand_as(distance)).cumsum(1)[:, :BINS]
        return ((within < AREA).sum(1) + 1).clamp_max(BINS) * (FARTHEST / BINS)

    def nearest(self, position: Tensor, reach: float) -> tuple[int, Tensor] | None:
        """The photograph that shows most of the surface within `reach` of a position, and the centre of that part, [3].

        None where nothing is, or where it is unknown which photograph shows what.
        """
        near = (self.points - position.to(self.points)).norm(dim=1) < reach * self.depth
        if self.photograph is None or not bool(near.any()):
            return None
        shown = torch.bincount(self.photograph[near].long(), self.area[near], 2).argmax()
        own = near & (self.photograph == shown)
        return int(shown), self.points[own].mean(0)


def surfaces_near(path: Cameras, gaussians: Gaussians, photographs: Cameras, reach: float = 0.0) -> Surfaces:
    """The surfaces around the cameras of a path and around the two photographs.

    photographs: their two cameras.  reach: how far the path may still be bent, as a share of the scene's depth.
    """
    means, label = gaussians.means, gaussians.photograph
    centres = photographs.c2w[:, :3, 3].to(means)
    to_photographs = torch.cdist(means, centres, compute_mode=EXACT)
    away = to_photographs.amin(1) if label is None else to_photographs.gather(1, label[:, None].long())[:, 0]
    depth = float(away.median()) if len(away) else 1.0
    # Gaussians in a ball around the whole path are looked at.
    positions = torch.cat([path.c2w[:, :3, 3].to(means), centres])
    middle = (positions.amin(0) + positions.amax(0)) / 2
    radius = (positions - middle).norm(dim=1).max() + (FARTHEST + reach) * depth
    near = (torch.cdist(means, middle[None], compute_mode=EXACT)[:, 0] < radius).nonzero()[:, 0]
    step = max(1, len(near) // SAMPLE)
    chosen = near[::step]
    # A Gaussian covers about one pixel of its own photograph.
    pixel = away[chosen] / (photographs.K[0, 0, 0].to(means) * depth)
    area = step * gaussians.opacities[chosen] * pixel**2
    return Surfaces(means[chosen], area, None if label is None else label[chosen], depth)


def way(path: Cameras, spacing: float) -> Tensor:
    """Positions along a path: each camera, and stops between it and the next one, [T, S, 3], float64, scene units.

    spacing: about the largest distance between two stops, scene units.
    """
    centres = path.c2w[:, :3, 3].double()
    steps = torch.cat([centres, centres[-1:]]).diff(dim=0)  # the last camera stays where it is
    stops = min(max(math.ceil(float(steps.norm(dim=1).max()) / spacing), 1), MOST_STOPS)
    share = torch.arange(stops).to(centres) / stops
    return centres[:, None] + share[:, None] * steps[:, None]
