"""Removes Gaussians that the other photograph contradicts: space carving on two views (Kutulakos and Seitz 2000).

A Gaussian that lies in front of the other photograph's surface must be visible in that photograph. If the photograph
shows another colour there, the Gaussian is wrong. Without this, wrong Gaussians hang as specks in front of surfaces.
"""

import torch
from torch import Tensor

from stages.geometry import project
from stages.scene import Gaussians, Views

IN_FRONT = 0.98  # a point is in front of a surface if its depth is less than this share of the surface's depth
SAME = 0.03  # a point is on the other view's surface if its depth differs by less than this share
# A colour differs from a photograph if it differs from each of the 3 x 3 pixels there by more than this. The difference
# is the mean over the channels, in [0, 1].
OTHER_COLOUR = 0.1


@torch.no_grad()
def visible_as_claimed(gaussians: Gaussians, depth: Tensor, views: Views) -> Tensor:
    """Which Gaussians the other photograph does not contradict, [G], boolean.

    gaussians: those of photograph 0, then those of photograph 1, with `photograph` set.
    depth: [2, h, w], camera z of each view, scene units.  views: the two photographs.
    Photographs may differ in exposure, so the median colour difference where both show one surface is subtracted first.
    """
    h, w = views.cameras.size
    visible = []
    for view in (0, 1):
        other, own = 1 - view, gaussians.of_photograph(view)
        # Where the Gaussians of this view are in the other photograph, and the surface depth there.
        camera = views.cameras[[other]]
        pixels, z = project(own.means, camera.K[0].to(own.means), camera.c2w[0].to(own.means))
        x, y = pixels.unbind(-1)
        inside = (z > 0) & (x >= 1) & (x < w - 1) & (y >= 1) & (y < h - 1)
        column, row = x.clamp(1, w - 2).long(), y.clamp(1, h - 2).long()
        surface = depth[other].to(z)[row, column]
        # Their colours, corrected by the difference in exposure.
        photograph = views.images[other].to(z)
        colour = own.colours
        same = inside & ((z / surface - 1).abs() < SAME)
        if bool(same.any()):
            colour = colour + (photograph[:, row, column].T - colour)[same].median(0).values
        # The colour difference to the most similar of the 3 x 3 pixels around.
        difference = torch.full_like(z, torch.inf)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                difference = difference.minimum((photograph[:, row + dy, column + dx].T - colour).abs().mean(1))
        visible.append(~(inside & (z < IN_FRONT * surface) & (difference > OTHER_COLOUR)))
    return torch.cat(visible)
