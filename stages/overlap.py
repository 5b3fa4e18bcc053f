"""One photograph as the camera of the other one sees it, by means of their depth maps.

This tells what both photographs show.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.geometry import reproject, sampling_grid
from stages.scene import Views


def other_photograph(views: Views, photograph: int) -> tuple[Tensor, Tensor]:
    """The other photograph as the camera of this one would see it.

    views: the two photographs, with depth.  photograph: 0 or 1, which of them is this one.
    Returns colours [3, h, w], and the relative difference of the two depths of each pixel, [h, w], which is infinite
    outside the other photograph and behind its camera.
    """
    assert views.depth is not None, "the caller has checked it"
    depth, other = views.depth.float(), 1 - photograph
    cameras = views.cameras.to(depth)
    K, c2w = cameras.K, cameras.c2w
    pixels, z = reproject(depth[photograph], K[photograph], c2w[photograph], K[other], c2w[other])
    grid = sampling_grid(pixels, cameras.size)
    maps = torch.cat([views.images[other].to(depth), depth[other][None]])[None]
    sampled = F.grid_sample(maps, grid[None], padding_mode="border", align_corners=False)[0]
    inside = (z > 0) & (grid.abs() < 1).all(-1)
    return sampled[:3], torch.where(inside, (z / sampled[3] - 1).abs(), torch.inf)
