"""Sharp colours for a layer, looked up in the photograph that its Gaussians come from.

Gaussians that close a surface blur it. Their depth tells where each pixel of a frame lies in the photograph, and the
sharp colour is taken from there (depth-image-based rendering, McMillan 1997). Where the depth is wrong, as at edges,
that colour is wrong too. It then differs from the blurred one, and the blurred one is kept.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.geometry import reproject, sampling_grid
from stages.scene import Cameras, Views
from stages.splat import Drawing

# The trust in a photograph's colour falls to 1/e where it differs by this much from the blurred one. This holds for a
# camera half-way between the two photographs. Nearer the photograph's own camera, where every colour is right, the
# colours may differ by more.
TYPICAL_DIFFERENCE = 0.1
WINDOW = 3  # side of the square over which differences are averaged, px


@torch.no_grad()
def sharpened(
    drawing: Drawing, cameras: Cameras, views: Views, photograph: int, near: Tensor, offset: Tensor, usable: Tensor
) -> Drawing:
    """A layer with the colours of its photograph.

    drawing: the layer at N cameras.  near: [N], nearness of the photograph.
    offset: [2, h, w], the misalignment of the photograph's pixels, of which a camera gets the share 1 - nearness.
    usable: [h, w], the pixels of the photograph that show the scene.
    """
    n, (h, w) = len(cameras), cameras.size
    alpha, image = drawing.alpha, drawing.image
    near = near.to(alpha)
    own, here = views.cameras[[photograph]].to(alpha), cameras.to(alpha)
    pixels, z = reproject(drawing.depth.clamp_min(1e-9), here.K, here.c2w, own.K[0], own.c2w[0])
    grid = sampling_grid(pixels, own.size).view(1, n * h, w, 2)
    # Move the photograph's content by a part of its misalignment.
    maps = _look_up(torch.cat([offset, usable[None].to(offset)]).to(alpha), grid, "bilinear").view(3, n, h, w)
    moved = maps[:2].permute(1, 2, 3, 0)
    pixels = pixels - (1 - near)[:, None, None, None] * moved
    grid = sampling_grid(pixels, own.size).view(1, n * h, w, 2)
    photographs = (views.full or views).images
    colours = _look_up(photographs[photograph].to(alpha), grid, "bicubic").clamp(0, 1)
    colours = colours.view(3, n, h, w).transpose(0, 1)
    # Keep the blurred colour where the photograph's differs from it.
    blurred = image / alpha.clamp_min(1e-3)[:, None]
    # Detail that only the full photographs have is no difference.
    scale = max(1, 2 * round((h / own.size[0] - 1) / 2) + 1)
    window = WINDOW * scale
    difference = (
        F.avg_pool2d(colours - blurred, scale, 1, scale // 2, count_include_pad=False).abs().mean(1, keepdim=True)
    )
    apart = F.avg_pool2d(colours - blurred, scale, 1, scale // 2, count_include_pad=False)
    difference = F.avg_pool2d(apart.abs().mean(1, keepdim=True), window, 1, window // 2)
    typical = TYPICAL_DIFFERENCE * (0.5 / (1 - near).clamp_min(1e-3)).sqrt()
    shown = ((grid.abs() < 1).all(-1).view(n, h, w) & (z > 0) & (drawing.depth > 0))[:, None]
    trust = shown * maps[2][:, None].clamp(0, 1) * torch.exp(-((difference / typical[:, None, None, None]) ** 2))
    return Drawing(torch.lerp(blurred, colours, trust) * alpha[:, None], alpha, drawing.depth)


def _look_up(maps: Tensor, grid: Tensor, mode: str) -> Tensor:
    """Maps [C, h, w] at the positions of a grid [1, H, W, 2], [1, C, H, W]."""
    return F.grid_sample(maps[None], grid, mode=mode, padding_mode="border", align_corners=False)
