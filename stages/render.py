"""(2) Gaussians along a camera path -> clip, coverage and depth.

The Gaussians of a two-view prior do not cover what neither photograph saw. Such pixels are filled smoothly from their
surroundings (push-pull), so that a frame has no black holes; `coverage` says which pixels these are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.border import keep_border
from stages.layers import blend_layers, nearness
from stages.scene import Cameras, Clip, Gaussians, Views
from stages.splat import draw, near_plane

CHUNK = 7  # frames drawn between two progress reports


def fill_holes(image: Tensor, alpha: Tensor) -> Tensor:
    """Put the blurred surroundings behind what is drawn (push-pull, Gortler et al. 1996).

    image: [N, 3, h, w], colour already weighted by alpha.  alpha: [N, h, w].  Returns [N, 3, h, w].
    """
    if min(image.shape[-2:]) == 1:
        return image / alpha[:, None].clamp_min(1e-6)
    coarse = F.avg_pool2d(torch.cat([image, alpha[:, None]], 1), 2, ceil_mode=True, count_include_pad=False)
    # Pull: average what is known; half known is as good as fully known, or thin gaps would spread.
    known = coarse[:, 3:].clamp_min(1e-6)
    weight = (2 * known).clamp_max(1.0)
    behind = fill_holes(coarse[:, :3] / known * weight, weight[:, 0])
    return image + (1 - alpha[:, None]) * F.interpolate(behind, image.shape[-2:], mode="bilinear", align_corners=False)


@torch.no_grad()
def render(
    gaussians: Gaussians,
    cameras: Cameras,
    fps: float = 8.0,
    progress: Callable[[int, int], None] | None = None,
    views: Views | None = None,
) -> Clip:
    """Draw the scene at every camera.

    progress(done, total) is called as frames are finished.  views: the two photographs, whose black border the frames keep; Gaussians
    that know which of the two they come from are drawn by layers (see stages/layers.py).
    """
    near = near_plane(gaussians.means, cameras)
    # Parted once, not for every chunk of frames.
    layers = None if views is None or gaussians.photograph is None else (gaussians.of_photograph(0), gaussians.of_photograph(1))
    frames, coverage, depth = [], [], []
    for start in range(0, len(cameras), CHUNK):
        part = cameras[start : start + CHUNK]
        if views is None or layers is None:
            drawing = draw(gaussians, part, near=near)
        else:
            first, second = (draw(layer, part, near=near) for layer in layers)
            drawing = blend_layers(first, second, nearness(part, views.cameras))
        frames.append(fill_holes(drawing.image, drawing.alpha).clamp(0, 1))
        coverage.append(drawing.alpha.clamp(0, 1))
        depth.append(drawing.depth)
        if progress is not None:
            progress(min(start + CHUNK, len(cameras)), len(cameras))
    clip = Clip(torch.cat(frames), cameras, torch.cat(coverage), fps, torch.cat(depth))
    return clip if views is None else keep_border(clip, views.images)
