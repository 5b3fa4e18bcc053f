"""The photographs as a clip's cameras see them, and the blend of a render with them.

A render is softer than the photographs it comes from. Its depth says where each of its pixels lies in them, so a sharp
colour can be looked up there (depth-image-based rendering, McMillan 1997; blended as in unstructured lumigraphs,
Buehler et al. 2001). The colour is wrong where the depth is wrong; the student sees the render beside it and can tell.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.errors import InputError
from stages.exposure import estimate_exposure
from stages.geometry import reproject, sampling_grid
from stages.plain_border import without_border
from stages.render import kernel, nearness
from stages.render.alignment import misalignment
from stages.render.light import difference_in_light
from stages.render.photographs import look_up, to_photograph
from stages.scene import Cameras, Exposure, Views

# A point is visible if its depth exceeds that of the photograph's surface by at most this share.
OCCLUSION_MARGIN = 0.05
TRUST_SCALE = 0.1  # colour difference from the render at which the trust in a warped pixel falls to 1/e
WINDOW = 5  # side in pixels of the square over which colour differences are averaged; single pixels mislead at edges
RENDER_WEIGHT = 0.1  # weight of the render; without a belief the photographs' weights add up to at most 1


@dataclass(frozen=True, eq=False)
class Warped:
    """Two photographs as F cameras would see them.

    colours: [F, 2, 3, h, w] in [0, 1].  weight: [F, 2, h, w], how near the photograph's camera is. It is 0 where the
    photograph does not show the surface, and the colours there have no meaning. The two weights of a pixel add up to at
    most 1.
    """

    colours: Tensor
    weight: Tensor


@torch.no_grad()
def warp(views: Views, cameras: Cameras, depth: Tensor, exposure: Exposure | None = None) -> Warped:
    """Look up the pixels of F frames in two photographs, with the alignment, exposure and light of a render.

    views: two, with depth (camera z).  cameras: F, of any size.  depth: [F, h, w], camera z of the frames, 0 where
    nothing was rendered.  exposure: difference in exposure of the photographs; None stands for `estimate_exposure`.
    With `Exposure.same()` the photographs keep their light too.
    Raises InputError when the photographs have no depth.
    """
    if views.depth is None:
        why = "they have no depth"
        raise InputError("cannot warp the photographs", why, "predict it with this program: videoscene prior")
    exposure = estimate_exposure(views) if exposure is None else exposure
    # The plain border of a photograph would show as dark threads.
    views = without_border(views)
    if not kernel.takes(depth):
        return warp_in_torch(views, cameras, depth, exposure)
    assert views.depth is not None
    near, f, (h, w), depth = nearness(cameras, views.cameras), len(cameras), cameras.size, depth.contiguous()
    warped = Warped(depth.new_empty(f, 2, 3, h, w), depth.new_empty(f, 2, h, w))
    for k in (0, 1):
        photograph = kernel.packed(torch.cat([views.images[k].to(depth), views.depth[k][None].to(depth)]))
        offset = kernel.packed(misalignment(views, k, exposure).to(depth))
        light = kernel.packed(difference_in_light(views, k, exposure).to(depth))
        gains, offsets = exposure.part(k, 1 - near[:, k])
        for n in range(f):
            kernel.warp(
                depth[n],
                to_photograph(cameras[[n]], views.cameras[[k]]),
                (photograph, offset, light),
                1 - float(near[n, k]),
                1 + OCCLUSION_MARGIN,
                float(near[n, k]),
                (gains[n], offsets[n]),
                (warped.colours[n, k], warped.weight[n, k]),
            )
    return warped


@torch.no_grad()
def warp_in_torch(views: Views, cameras: Cameras, depth: Tensor, exposure: Exposure) -> Warped:
    """The reference of `warp`."""
    assert views.depth is not None, "`warp` has checked it"
    f, (h, w) = len(cameras), cameras.size
    here, photographs = cameras.to(depth), views.cameras.to(depth)
    camera_weight = nearness(cameras, views.cameras).to(depth)
    colours, weight = [], []
    for k in (0, 1):
        pixels, z = reproject(depth, here.K, here.c2w, photographs.K[k], photographs.c2w[k])
        grid = sampling_grid(pixels, views.cameras.size).view(1, f * h, w, 2)
        image, surface = views.images[k].to(depth), views.depth[k][None].to(depth)
        surface = look_up(surface, grid, "bilinear").view(f, h, w)
        inside = (grid.abs() < 1).all(-1).view(f, h, w) & (z > 0) & (depth > 0)
        visible = inside & (z < (1 + OCCLUSION_MARGIN) * surface)
        # Move the photograph's content by a part of its misalignment, and give it a part of the other one's light.
        share = (1 - camera_weight[:, k])[:, None, None, None]
        maps = torch.cat([find(views, k, exposure) for find in (misalignment, difference_in_light)])
        offset, light = look_up(maps.to(depth), grid, "bilinear").view(5, f, h, w).split((2, 3))
        pixels = pixels - share * offset.permute(1, 2, 3, 0)
        grid = sampling_grid(pixels, views.cameras.size).view(1, f * h, w, 2)
        own = look_up(image, grid, "bicubic").view(3, f, h, w).transpose(0, 1)
        own = exposure.bring(own, k, share[:, 0, 0, 0]) + share * light.transpose(0, 1)
        colours.append(own.clamp(0, 1).where(visible[:, None], 0.0))
        weight.append(camera_weight[:, k, None, None] * visible)
    return Warped(torch.stack(colours, 1), torch.stack(weight, 1))


def blend(frames: Tensor, colours: Tensor, weight: Tensor, belief: Tensor | None = None) -> Tensor:
    """Lay the photographs' pixels over a render where they look like it.

    frames: [..., 3, h, w].  colours: [..., 2, 3, h, w], weight: [..., 2, h, w], see `Warped`.
    belief: [..., 2, h, w], the logarithm of a factor on the photographs' weights.  Returns [..., 3, h, w].
    """
    trust = log_trust(frames, colours)
    return mixed(frames, colours, weight * (trust if belief is None else trust + belief).exp())


def log_trust(frames: Tensor, colours: Tensor) -> Tensor:
    """The logarithm of the trust in warped pixels, [..., 2, h, w]: 0, or less where they differ from the render.

    frames: [..., 3, h, w].  colours: [..., 2, 3, h, w].
    """
    return -_window_mean(difference(colours, frames[..., None, :, :, :])) / TRUST_SCALE


def mixed(frames: Tensor, colours: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean of a render and the warped photographs, [..., 3, h, w].

    frames: [..., 3, h, w].  colours: [..., 2, 3, h, w].  weights: [..., 2, h, w], those of the photographs.
    """
    weights = weights[..., None, :, :]
    return (RENDER_WEIGHT * frames + (weights * colours).sum(-4)) / (RENDER_WEIGHT + weights.sum(-4))


def difference(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference over the three colours. a, b: [..., 3, h, w].  Returns [..., h, w]."""
    return (a - b).abs().mean(-3)


def _window_mean(maps: Tensor) -> Tensor:
    """Mean over WINDOW x WINDOW pixels, with the border pixels repeated outwards. maps: [..., h, w]."""
    padded = F.pad(maps.flatten(0, -3), [WINDOW // 2] * 4, mode="replicate")
    return F.avg_pool2d(padded, WINDOW, 1).view_as(maps)
