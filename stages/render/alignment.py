"""The small misalignment that is left between two photographs after the geometry has been taken into account.

The Gaussians of each photograph are rendered as a layer of their own (layers.py). Depth and cameras have errors, so a
surface that both photographs show lies a pixel or so apart in the two layers, and the blend shows it twice. The offset
is found once per pair by optical flow (Lucas and Kanade 1981, coarse to fine). Along the path each layer moves by a
part of it, so that both meet (floating textures, Eisemann et al. 2008).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.geometry import pixel_centres, sampling_grid
from stages.overlap import other_photograph
from stages.scene import Exposure, Views

SAME_SURFACE = 0.05  # both photographs show a point if its two depths differ by less than this share
LEVELS, ITERATIONS = 3, 3  # number of image sizes, each half of the one before, and of iterations at each size
WINDOW = 4.0  # standard deviation of the window whose pixels share one offset, px of the image at each size
RIDGE = 1e-4  # added to squared gradients of colour, which draws offsets towards 0
LARGEST = 4.0  # largest offset in each direction, px
TYPICAL_DIFFERENCE = 0.08  # colour difference, in [0, 1], at which a pixel counts half
# Standard deviation of the blur by which the offset fades out where only one photograph shows the surface, px.
FADE = 6.0


@torch.no_grad()
def misalignment(views: Views, photograph: int, exposure: Exposure) -> Tensor:
    """The offset of each pixel of a photograph, [2, h, w], px.

    It leads from the pixel to where the other photograph shows the same content, after the depth and the cameras have
    warped the other photograph into this one.  views: the two photographs, with depth.
    """
    own = exposure.bring(views.images[photograph][None].float(), photograph, torch.ones(1))
    other, apart = other_photograph(views, photograph)
    mask = (apart < SAME_SURFACE).float()[None, None]
    return (optical_flow(own, other[None], mask) * blur(mask, FADE))[0]


def optical_flow(target: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """The flow f [1, 2, h, w], px, for which source(x + f) is target(x), by Lucas and Kanade's method.

    target, source: [1, 3, h, w].  mask: [1, 1, h, w], the pixels that can be compared.
    """
    flow = target.new_zeros(1, 2, 1, 1)
    for level in reversed(range(LEVELS)):
        size = (max(1, target.shape[-2] >> level), max(1, target.shape[-1] >> level))
        a, b, trust = (F.interpolate(x, size, mode="area") for x in (target, source, mask))
        flow = F.interpolate(flow, size, mode="bilinear", align_corners=False) * 2
        bound = LARGEST / 2**level
        for _ in range(ITERATIONS):
            flow = (flow + _step(a, b, trust, flow)).clamp(-bound, bound)
    return flow


def _step(target: Tensor, source: Tensor, mask: Tensor, flow: Tensor) -> Tensor:
    """One Gauss-Newton step for every pixel, at most 1 px long in each direction, [1, 2, h, w]."""
    size = (target.shape[-2], target.shape[-1])
    position = pixel_centres(*size, like=target)[None, ..., :2] + flow.permute(0, 2, 3, 1)
    warped = F.grid_sample(source, sampling_grid(position, size), padding_mode="border", align_corners=False)
    padded = F.pad(warped, (1, 1, 1, 1), mode="replicate")
    dx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    dy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    difference = target - warped
    weight = mask / (1 + (difference.abs().mean(1, keepdim=True) / TYPICAL_DIFFERENCE) ** 2)
    products = [dx * dx, dx * dy, dy * dy, dx * difference, dy * difference]
    sums = blur(torch.cat([p.mean(1, keepdim=True) for p in products], 1) * weight, WINDOW)
    xx, xy, yy, xd, yd = sums.unbind(1)
    # The ridge draws the offset, and not only the step, towards 0.
    xx, yy, xd, yd = xx + RIDGE, yy + RIDGE, xd - RIDGE * flow[:, 0], yd - RIDGE * flow[:, 1]
    determinant = xx * yy - xy * xy
    return torch.stack([(yy * xd - xy * yd) / determinant, (xx * yd - xy * xd) / determinant], 1).clamp(-1, 1)


def blur(maps: Tensor, sigma: float) -> Tensor:
    """Maps [N, C, h, w] blurred by a bell curve with a standard deviation of `sigma` px."""
    radius = int(2 * sigma + 0.5)
    kernel = torch.exp(-(torch.arange(-radius, radius + 1).to(maps) ** 2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(maps.shape[1], 1, 1, -1)
    rows = F.conv2d(F.pad(maps, (radius, radius, 0, 0), mode="replicate"), kernel, groups=maps.shape[1])
    return F.conv2d(F.pad(rows, (0, 0, radius, radius), mode="replicate"), kernel.mT, groups=maps.shape[1])
