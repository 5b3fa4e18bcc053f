"""Fuse the depths of two views (Yao et al. 2018, section 4.2; Galliani et al. 2015): where they agree, both have measured one place.

Each view's depth has errors of its own, and the Gaussians of both, a little apart, would show every surface twice. So a point that
lands on the surface of the other view moves along its own ray to the mean of the two, each counted by the network's confidence.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.geometry import depth_of, project, sampling_grid
from stages.scene import Cameras, Gaussians

AGREE = 0.1  # relative difference of depth up to which two views see one surface
PASSES = 2  # the second one starts from surfaces that are nearer to one another


def fuse(gaussians: Gaussians, confidence: Tensor, cameras: Cameras) -> tuple[Gaussians, Tensor]:
    """Gaussians moved along their rays to the surface that both views see, sizes with the depth, and the depth of all.

    gaussians: one a pixel, view by view.  confidence: [2, h, w], a weight is its square.  cameras: 2, with K of these pixels.
    Returns Gaussians in the same order, and depth [2, h, w], camera z, scene units.
    """
    K, c2w = cameras.K.to(gaussians.means), cameras.c2w.to(gaussians.means)
    centre, own = c2w[:, None, :3, 3], confidence.flatten(1) ** 2
    means, scales = gaussians.means.unflatten(0, (2, -1)), gaussians.scales.unflatten(0, (2, -1))
    depth = depth_of(means, c2w)
    for _ in range(PASSES):
        there = [_of_other(means[v], depth.view_as(confidence), confidence, K, c2w, v) for v in (0, 1)]
        inverse, weight = (torch.stack(each) for each in zip(*there, strict=True))
        fused = (own + weight) / (own / depth + weight * inverse)
        factor = (fused / depth)[..., None]
        means, scales, depth = centre + (means - centre) * factor, scales * factor, fused
    return replace(gaussians, means=means.flatten(0, 1), scales=scales.flatten(0, 1)), depth.view_as(confidence)


def _of_other(means: Tensor, depth: Tensor, confidence: Tensor, K: Tensor, c2w: Tensor, view: int) -> tuple[Tensor, Tensor]:
    """What the other view says of the points [P, 3] of `view`: their inverse depth in `view`, and its weight, 0 where it disagrees."""
    other = 1 - view
    pixels, z = project(means, K[other], c2w[other])
    grid = sampling_grid(pixels, (confidence.shape[-2], confidence.shape[-1]))
    maps = torch.stack([1 / depth[other], confidence[other]])
    inverse, trust = F.grid_sample(maps[None], grid[None, None], padding_mode="border", align_corners=False)[0, :, 0]
    # The other view's surface on the line from its centre through the point, seen from `view` again.
    surface = c2w[other, :3, 3] + (means - c2w[other, :3, 3]) / (inverse * z)[:, None]
    there, here = (depth_of(points, c2w[view]) for points in (surface, means))
    agrees = (z > 0) & (grid.abs() < 1).all(-1) & ((there / here - 1).abs() < AGREE)
    return torch.where(agrees, 1 / there, 0.0), torch.where(agrees, trust**2, 0.0)
