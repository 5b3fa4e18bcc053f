"""Fusion of the depths of two views (Yao et al. 2018, section 4.2; Galliani et al. 2015).

Each view's depth has its own errors, so the Gaussians of the two views show every common surface twice, a little apart.
Where the two depths agree, each Gaussian moves along its own ray. Its new inverse depth is the mean of the two inverse
depths, each weighted by the square of the network's confidence.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.geometry import depth_of, project, sampling_grid
from stages.scene import Cameras, Gaussians

AGREE = 0.1  # two depths agree if they differ by less than this share
PASSES = 2  # the second pass starts from surfaces that the first has brought closer together


def fuse(gaussians: Gaussians, confidence: Tensor, cameras: Cameras) -> tuple[Gaussians, Tensor]:
    """Move Gaussians along their rays to the surface that both views see. Sizes grow with depth.

    gaussians: one per pixel of view 0, then of view 1.  confidence: [2, h, w]; the weight of a depth is its square.
    cameras: the cameras of the 2 views, with K in pixels of the depth maps.
    Returns the Gaussians in the same order, and their depth [2, h, w], camera z, scene units.
    """
    K, c2w = cameras.K.to(gaussians.means), cameras.c2w.to(gaussians.means)
    centre, own = c2w[:, None, :3, 3], confidence.flatten(1) ** 2
    means, scales = gaussians.means.unflatten(0, (2, -1)), gaussians.scales.unflatten(0, (2, -1))
    depth = depth_of(means, c2w)
    for _ in range(PASSES):
        others = [_of_other(means[view], depth.view_as(confidence), confidence, K, c2w, view) for view in (0, 1)]
        inverse, weight = (torch.stack(values) for values in zip(*others, strict=True))
        # The depth whose inverse is the weighted mean of the two inverse depths.
        mean_depth = (own + weight) / (own / depth + weight * inverse)
        factor = (mean_depth / depth)[..., None]
        means, scales, depth = centre + (means - centre) * factor, scales * factor, mean_depth
    return replace(gaussians, means=means.flatten(0, 1), scales=scales.flatten(0, 1)), depth.view_as(confidence)


def _of_other(
    means: Tensor, depth: Tensor, confidence: Tensor, K: Tensor, c2w: Tensor, view: int
) -> tuple[Tensor, Tensor]:
    """Inverse depth [P] of the other view's surface at the points of `view`, and its weight [P].

    means: [P, 3], the points.  depth, confidence: [2, h, w], of both views.  The inverse depth is measured in `view`.
    Both results are 0 where the two depths disagree.
    """
    # The other view's inverse depth and confidence where the points project.
    other = 1 - view
    pixels, z = project(means, K[other], c2w[other])
    grid = sampling_grid(pixels, (confidence.shape[-2], confidence.shape[-1]))
    maps = torch.stack([1 / depth[other], confidence[other]])
    inverse, trust = F.grid_sample(maps[None], grid[None, None], padding_mode="border", align_corners=False)[0, :, 0]
    # The other view's surface on the line from its centre through the point. Its depth is measured in `view`.
    surface = c2w[other, :3, 3] + (means - c2w[other, :3, 3]) / (inverse * z)[:, None]
    other_depth, own_depth = (depth_of(points, c2w[view]) for points in (surface, means))
    agrees = (z > 0) & (grid.abs() < 1).all(-1) & ((other_depth / own_depth - 1).abs() < AGREE)
    return torch.where(agrees, 1 / other_depth, 0.0), torch.where(agrees, trust**2, 0.0)
