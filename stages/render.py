"""(2) Gaussians along a camera path -> clip, coverage and depth.

The Gaussians of a two-view prior do not cover what neither photograph saw. Such pixels are filled smoothly from their
surroundings (push-pull), so that a frame has no black holes; `coverage` says which pixels these are.

Both photographs bring a sample of every surface that they share. Drawn as one cloud, one lies before the other by chance, pixel by
pixel, and the picture is blurred. Drawn apart, the nearer photograph counts for more, as in unstructured lumigraphs (Buehler et al.
2001, section 4), and what lies far behind the surface of the other one for less.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.black_border import keep_border
from stages.scene import Cameras, Clip, Gaussians, Views
from stages.splat import Drawing, draw, near_plane

BEHIND = 1.0  # relative depth behind the other surface, at which the weight has fallen to 1/e: a hint, as the nearer one may be wrong
DRAWN = 0.3  # alpha from which a layer has a surface
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


def nearness(cameras: Cameras, photographs: Cameras) -> Tensor:
    """How near cameras are to the one of two photographs rather than to the other, [N, 2], sums 1."""
    distance = (cameras.c2w[:, None, :3, 3] - photographs.c2w[:, :3, 3].to(cameras.c2w)).norm(dim=-1)  # cdist rounds small ones
    return 1 - distance / distance.sum(1, keepdim=True).clamp_min(1e-12)


def blend_layers(first: Drawing, second: Drawing, nearness: Tensor) -> Drawing:
    """One picture of two: opaque where either is, as deep as the nearer surface. nearness: [N, 2].

    Images are weighted by alpha, as they come from `draw`.
    """
    alpha, depth = torch.stack([first.alpha, second.alpha], 1), torch.stack([first.depth, second.depth], 1)  # [N, 2, h, w]
    colour = torch.stack([first.image, second.image], 1) / alpha.clamp_min(1e-3)[:, :, None]
    surface = torch.where(alpha > DRAWN, depth, torch.inf).amin(1, keepdim=True).minimum(depth.amax(1, keepdim=True))
    behind = (depth / surface.clamp_min(1e-12) - 1).clamp_min(0)
    # Never zero where something is drawn, so that it is shown where the other layer has nothing.
    weight = alpha * ((nearness.to(alpha)[..., None, None] * torch.exp(-((behind / BEHIND) ** 2))) + 1e-6)
    weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-12)
    either = 1 - (1 - alpha).prod(1)
    return Drawing((weight[:, :, None] * colour).sum(1) * either[:, None], either, surface[:, 0])


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
    that know which of the two they come from are drawn by layers.
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
