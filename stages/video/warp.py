"""The photographs seen from the cameras of a clip, and the plain picture that they make together.

A render is softer than the photographs it comes from, and its depth says where each of its pixels lies in them. So a photograph can
be looked up pixel by pixel (depth-image-based rendering, McMillan 1997; blended as in unstructured lumigraphs, Buehler et al. 2001):
sharp, and wrong where the depth is wrong, which the student sees beside the render.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.errors import InputError
from stages.geometry import project, sampling_grid, unproject
from stages.render import nearness
from stages.scene import Cameras, Views

BEHIND = 0.05  # a point that lies this share of its depth behind what a photograph shows there is hidden in it
DIFFERENCE = 0.1  # of colour from the render, over which the trust in a warped pixel falls to 1/e,
AROUND = 5  # meaned over so many pixels each way: of single ones it says little at edges
RENDER = 0.1  # weight of the render beside the photographs', which are at most 1 together


@dataclass(frozen=True)
class Warped:
    """colours: [F, 2, 3, h, w] in [0, 1], the two photographs as the cameras of F frames would see them.

    weight: [F, 2, h, w], how near the photograph's camera is, 0 where it does not show the pixel's surface; both together at most 1.
    """

    colours: Tensor
    weight: Tensor


@torch.no_grad()
def warp(views: Views, cameras: Cameras, depth: Tensor) -> Warped:
    """Look up the pixels of F frames in two photographs.

    views: two, with depth (camera z).  cameras: F, of any size.  depth: [F, h, w], camera z of the frames, 0 where nothing was drawn.
    Raises InputError when the photographs have no depth.
    """
    if views.depth is None:
        raise InputError("cannot warp the photographs", "they have no depth", "predict it with this program: videoscene prior")
    f, (h, w) = len(cameras), cameras.size
    points = unproject(depth, cameras.K.to(depth), cameras.c2w.to(depth)).reshape(-1, 3)
    near = nearness(cameras, views.cameras).to(depth)
    colours, weight = [], []
    for k in (0, 1):
        pixels, z = project(points, views.cameras.K[k].to(depth), views.cameras.c2w[k].to(depth))
        grid = sampling_grid(pixels, views.cameras.size).view(1, f * h, w, 2)
        seen = F.grid_sample(views.images[k][None].to(depth), grid, mode="bicubic", padding_mode="border", align_corners=False)[0]
        surface = F.grid_sample(views.depth[k][None, None].to(depth), grid, padding_mode="border", align_corners=False).view(f, h, w)
        z = z.view(f, h, w)
        inside = (grid.abs() < 1).all(-1).view(f, h, w) & (z > 0) & (depth > 0)
        shown = inside & (z < (1 + BEHIND) * surface)
        colours.append(seen.view(3, f, h, w).transpose(0, 1).clamp(0, 1))
        weight.append(near[:, k, None, None] * shown)
    return Warped(torch.stack(colours, 1), torch.stack(weight, 1))


def blend(frames: Tensor, colours: Tensor, weight: Tensor, belief: Tensor | None = None) -> Tensor:
    """A render with the photographs' pixels laid over it, where they look like it.

    frames: [..., 3, h, w].  colours: [..., 2, 3, h, w], weight: [..., 2, h, w], see `Warped`.  belief: [..., 2, h, w], by how much more the
    pixels of a photograph are to count, as a logarithm.  Returns [..., 3, h, w].
    """
    trust = -_around(difference(colours, frames[..., None, :, :, :])) / DIFFERENCE
    trust = (weight * (trust if belief is None else trust + belief).exp())[..., None, :, :]
    return (RENDER * frames + (trust * colours).sum(-4)) / (RENDER + trust.sum(-4))


def difference(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of colours. a, b: [..., 3, h, w].  Returns [..., h, w]."""
    return (a - b).abs().mean(-3)


def _around(maps: Tensor) -> Tensor:
    """Mean over AROUND x AROUND pixels, the border repeated. maps: [..., h, w]."""
    padded = F.pad(maps.flatten(0, -3), [AROUND // 2] * 4, mode="replicate")
    return F.avg_pool2d(padded, AROUND, 1).view_as(maps)
