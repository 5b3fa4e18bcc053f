"""Render Gaussians along a camera path into a clip with coverage and depth.

The Gaussians predicted from two photographs do not cover what neither photograph saw. Such pixels are filled smoothly
from their surroundings (push-pull), so that frames have no black holes. `Clip.coverage` says which pixels these are.

Where both photographs saw a surface, each has put Gaussians on it, at slightly different depths. Rendered together,
which of the two is in front changes from pixel to pixel, and the image is blurred. So the Gaussians of each photograph
are rendered as a layer of their own, and the two layers are blended. The photograph whose camera is nearer counts more,
as in unstructured lumigraphs (Buehler et al. 2001, section 4), and a layer that lies far behind the other one counts
less.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.black_border import keep_border
from stages.scene import Cameras, Clip, Gaussians, Views
from stages.splat import Drawing, draw, near_plane

# The weight of a layer falls to 1/e where its depth is (1 + BEHIND) times that of the nearer surface. It falls so
# slowly because the nearer surface may be the wrong one.
BEHIND = 1.0
SURFACE_ALPHA = 0.3  # a layer has a surface at a pixel where its alpha is above this
CHUNK = 7  # frames rendered between two progress reports


def fill_holes(image: Tensor, alpha: Tensor) -> Tensor:
    """Fill transparent pixels with the blurred colour of their surroundings (push-pull, Gortler et al. 1996).

    image: [N, 3, h, w], colour times alpha.  alpha: [N, h, w].  Returns [N, 3, h, w].
    """
    if min(image.shape[-2:]) == 1:
        return image / alpha[:, None].clamp_min(1e-6)
    coarse = F.avg_pool2d(torch.cat([image, alpha[:, None]], 1), 2, ceil_mode=True, count_include_pad=False)
    # Pull: average the known colours. If half of the pixels are known, the average counts as known, or gaps would grow.
    coarse_alpha = coarse[:, 3:].clamp_min(1e-6)
    weight = (2 * coarse_alpha).clamp_max(1.0)
    background = fill_holes(coarse[:, :3] / coarse_alpha * weight, weight[:, 0])
    # Push: show the filled coarse image through the transparent pixels.
    return image + (1 - alpha[:, None]) * F.interpolate(
        background, image.shape[-2:], mode="bilinear", align_corners=False
    )


def nearness(cameras: Cameras, photographs: Cameras) -> Tensor:
    """Weight of each of two photographs for each of N cameras, [N, 2]: larger for the nearer one. Rows sum to 1."""
    # Not torch.cdist, which rounds small distances.
    distance = (cameras.c2w[:, None, :3, 3] - photographs.c2w[:, :3, 3].to(cameras.c2w)).norm(dim=-1)
    return 1 - distance / distance.sum(1, keepdim=True).clamp_min(1e-12)


def blend_layers(first: Drawing, second: Drawing, nearness: Tensor) -> Drawing:
    """Blend the renders of two layers: opaque where either layer is, with the depth of the nearer surface.

    first, second: images are colour times alpha, as `draw` returns them.  nearness: [N, 2], from `nearness`.
    """
    # Alpha and depth of both layers are [N, 2, h, w], colour is [N, 2, 3, h, w].
    alpha, depth = torch.stack([first.alpha, second.alpha], 1), torch.stack([first.depth, second.depth], 1)
    colour = torch.stack([first.image, second.image], 1) / alpha.clamp_min(1e-3)[:, :, None]
    surface = torch.where(alpha > SURFACE_ALPHA, depth, torch.inf).amin(1, keepdim=True)
    surface = surface.minimum(depth.amax(1, keepdim=True))  # the farther layer's depth if neither has a surface
    behind = (depth / surface.clamp_min(1e-12) - 1).clamp_min(0)
    # The 1e-6 keeps a weight above zero, so that a layer shows where the other one has nothing.
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
    """Render the scene at every camera.

    progress(done, total) is called as frames are finished.
    views: the two photographs. With them, frames get the photographs' black border, and Gaussians whose `photograph` is
    set are rendered as two blended layers.
    """
    near = near_plane(gaussians.means, cameras)
    by_layers = views is not None and gaussians.photograph is not None
    layers = (gaussians.of_photograph(0), gaussians.of_photograph(1)) if by_layers else None
    frames, coverage, depth = [], [], []
    for start in range(0, len(cameras), CHUNK):
        chunk = cameras[start : start + CHUNK]
        if views is None or layers is None:
            drawing = draw(gaussians, chunk, near=near)
        else:
            first, second = (draw(layer, chunk, near=near) for layer in layers)
            drawing = blend_layers(first, second, nearness(chunk, views.cameras))
        frames.append(fill_holes(drawing.image, drawing.alpha).clamp(0, 1))
        coverage.append(drawing.alpha.clamp(0, 1))
        depth.append(drawing.depth)
        if progress is not None:
            progress(min(start + CHUNK, len(cameras)), len(cameras))
    clip = Clip(torch.cat(frames), cameras, torch.cat(coverage), fps, torch.cat(depth))
    return clip if views is None else keep_border(clip, views.images)
