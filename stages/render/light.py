"""The difference in light between two photographs that is left after their exposure has been taken into account.

Lenses darken the corners of a photograph, lamps shine on one side of a room, and phones brighten parts of a picture.
So the difference varies slowly from place to place, and a seam would show where one photograph ends. Along the path
each photograph gets a part of the difference, so that both have the same light half-way.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.overlap import other_photograph
from stages.render.alignment import SAME_SURFACE, blur
from stages.scene import Exposure, Views

COARSE = 4  # averages are taken in images smaller by this factor, because they vary slowly
WINDOW = 4.0  # standard deviation of the window over which the difference is averaged, px of the coarse images
TYPICAL_RESIDUAL = 0.1  # colour difference from this average, in [0, 1], at which a pixel counts half
LARGEST = 0.3  # a colour that differs by more, in [0, 1], is that of another thing
REWEIGHTINGS = 3  # iterations of the robust mean
FEW = 0.005  # where both photographs show only this share of the window, half of the difference is used


@torch.no_grad()
def difference_in_light(views: Views, photograph: int, exposure: Exposure) -> Tensor:
    """The difference between the light of the other photograph and that of this one, [3, h, w].

    This photograph in the exposure of the other one, plus the difference, has the light of the other one. The
    difference is 0 far from all that both photographs show, and everywhere if the exposure says that both are to be
    left as they are.  views: the two photographs, with depth.
    """
    if exposure.leaves_as_is:
        return torch.zeros_like(views.images[photograph], dtype=torch.float32)
    own = exposure.bring(views.images[photograph][None].float(), photograph, torch.ones(1))[0]
    other, apart = other_photograph(views, photograph)
    difference = other - own
    both = ((apart < SAME_SURFACE) & (difference.abs().amax(0) < LARGEST)).to(own)
    size = (own.shape[-2], own.shape[-1])
    coarse = (max(1, size[0] // COARSE), max(1, size[1] // COARSE))
    light = torch.zeros_like(own)
    for _ in range(REWEIGHTINGS):
        weight = both / (1 + (difference - light).square().sum(0) / TYPICAL_RESIDUAL**2)
        parts = F.interpolate(torch.cat([difference * weight, weight[None]])[None], coarse, mode="area")
        sums = blur(parts, WINDOW)
        light = F.interpolate(sums[:, :3] / (sums[:, 3:] + FEW), size, mode="bilinear", align_corners=False)[0]
    return light
