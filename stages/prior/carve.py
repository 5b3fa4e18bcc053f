"""Space carving on two views (Kutulakos and Seitz 2000): what stands before a photograph's surface must show in that photograph.

Where the layers of the two views interleave, wrong points of one hang as specks before the other. A point that the other photograph
would see in front of everything, and in another colour, is not there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stages.geometry import project
from stages.scene import Gaussians, Views

BEFORE = 0.98  # of the surface's depth: a point nearer than this stands before it
SAME = 0.03  # relative difference of depth, up to which a point lies on the other view's surface
OTHER_COLOUR = 0.1  # mean absolute difference over the channels, to the most similar of the 3 x 3 pixels around


@torch.no_grad()
def visible_as_claimed(gaussians: Gaussians, depth: Tensor, views: Views) -> Tensor:
    """Which Gaussians the other photograph does not contradict, [G], boolean.

    gaussians: view by view, knowing their photograph; first harmonics are colours.  depth: [2, h, w], camera z of each view.
    views: the two photographs. What differs between their exposures is taken off: the median difference where both see one surface.
    """
    h, w = views.cameras.size
    kept = []
    for view in (0, 1):
        other, own = 1 - view, gaussians.of_photograph(view)
        camera = views.cameras[[other]]
        pixels, z = project(own.means, camera.K[0].to(own.means), camera.c2w[0].to(own.means))
        x, y = pixels.unbind(-1)
        inside = (z > 0) & (x >= 1) & (x < w - 1) & (y >= 1) & (y < h - 1)
        column, row = x.clamp(1, w - 2).long(), y.clamp(1, h - 2).long()
        surface = depth[other].to(z)[row, column]
        photograph = views.images[other].to(z)
        colour = own.colours
        same = inside & ((z / surface - 1).abs() < SAME)
        if bool(same.any()):
            colour = colour + (photograph[:, row, column].T - colour)[same].median(0).values
        difference = torch.full_like(z, torch.inf)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                difference = difference.minimum((photograph[:, row + dy, column + dx].T - colour).abs().mean(1))
        kept.append(~(inside & (z < BEFORE * surface) & (difference > OTHER_COLOUR)))
    return torch.cat(kept)
