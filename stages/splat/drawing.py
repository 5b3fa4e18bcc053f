"""Draws the objects of stages/scene.py."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stages.scene import Cameras, Gaussians
from stages.splat.dispatch import rasterization

# Without gradients a path is drawn in groups of this many cameras, which keeps the memory of long paths flat.
GROUP = 4
NEAR = 0.01  # what is nearer to a camera than this share of the scene's median distance is not drawn


@dataclass(frozen=True)
class Drawing:
    """N rendered views: image [N, 3, h, w], alpha [N, h, w] in [0, 1], depth [N, h, w] expected camera z (0 where nothing was drawn)."""

    image: Tensor
    alpha: Tensor
    depth: Tensor


def draw(gaussians: Gaussians, cameras: Cameras, near: float = 0.01) -> Drawing:
    """Render `gaussians` from every camera in one call.

    near: Gaussians closer than this are left out, scene units.  Differentiable in the Gaussians and the poses.
    """
    tensors = (gaussians.means, gaussians.scales, gaussians.quats, gaussians.opacities, gaussians.sh, cameras.c2w)
    with_gradient = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    n = len(cameras)
    # Poses are kept in float64 and inverted there; the kernel works in the Gaussians' type.
    views, intrinsics = cameras.w2c.to(gaussians.means), cameras.K.to(gaussians.means)
    height, width = cameras.size
    parts = []
    step = n if with_gradient else GROUP
    for first in range(0, n, step):
        last = first + step
        camera = (views[first:last], intrinsics[first:last], width, height)
        parts.append(
            rasterization(gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh, *camera, near_plane=near)
        )
    image = torch.cat([p[0] for p in parts]).permute(0, 3, 1, 2)
    return Drawing(image[:, :3], torch.cat([p[1] for p in parts])[..., 0], image[:, 3])


def near_plane(means: Tensor, cameras: Cameras) -> float:
    """The near plane for Gaussians at `means` [G, 3], scene units. Given cameras come in units of any size, so it follows the scene."""
    return NEAR * float((means - cameras.c2w[0, :3, 3].to(means)).norm(dim=-1).median())
