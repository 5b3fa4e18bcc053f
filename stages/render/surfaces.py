"""Surfaces in frames: sharp where a frame does not magnify a photograph, and closed where it does.

The prior's Gaussians are large enough to cover a surface from any distance (stages/prior/closed.py). Where a frame
shows them as large as their photograph did, the renderer's blur closes the gaps already, and smaller Gaussians are
sharper. So their size follows the magnification, as in surface splatting (Zwicker et al. 2001). Small holes are closed
afterwards.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.geometry import depth_of
from stages.prior.closed import SIZE
from stages.render import kernel
from stages.scene import Cameras, Gaussians
from stages.splat import Drawing

SMALL = 0.3  # standard deviation of a Gaussian in a frame that does not magnify it, px of its photograph
ROUNDING = 1.001  # sizes that differ by a smaller factor count as equal
OPAQUE = 0.95  # a pixel is opaque if its alpha is above this
RADIUS = 2  # a hole is compared with the pixels around it, up to this many away in each direction
SOLID = 0.5  # a hole is closed if at least this share of the window is opaque
ONE_SURFACE = 1.05  # depths belong to one surface if the largest is at most this many times the smallest


def sized(gaussians: Gaussians, photograph: Cameras, camera: Cameras) -> Gaussians:
    """A photograph's Gaussians, as large as a camera needs them. Those that the prior made larger stay as they are.

    photograph, camera: one camera each.
    """
    means = gaussians.means
    (own, own_focal), (now, focal) = _depth_and_focal(means, photograph), _depth_and_focal(means, camera)
    pixel, magnification = own / own_focal, (own * focal / (now * own_focal)).clamp_min(1)
    size = (SIZE**2 - (SIZE**2 - SMALL**2) * magnification**-2).sqrt() * pixel
    closing = gaussians.scales <= SIZE * ROUNDING * pixel[:, None]
    return replace(gaussians, scales=torch.where(closing, size[:, None], gaussians.scales))


def close(drawing: Drawing) -> Drawing:
    """Close small holes that lie within one surface: with the mean colour and depth of the opaque pixels around."""
    if kernel.takes(drawing.image):
        return kernel.close(drawing, RADIUS, OPAQUE, SOLID, ONE_SURFACE)
    return close_in_torch(drawing)


def close_in_torch(drawing: Drawing) -> Drawing:
    """The reference of `close`."""
    h, w = drawing.alpha.shape[-2:]
    # Only pixels are looked at that are not opaque themselves and have enough opaque pixels around them. Pixels beyond
    # the image count as transparent.
    maps = torch.cat([drawing.image, drawing.alpha[:, None], drawing.depth[:, None]], 1)
    side, width = 2 * RADIUS + 1, w + 2 * RADIUS
    padded = F.pad(maps, (RADIUS,) * 4).transpose(0, 1).flatten(1)
    opaque = (drawing.alpha > OPAQUE).float()
    share = F.avg_pool2d(opaque, side, 1, RADIUS)
    frame, row, column = ((opaque == 0) & (share >= SOLID)).nonzero().T
    first = (frame * (h + 2 * RADIUS) + row) * width + column  # index of the first pixel of each window
    steps = torch.arange(side, device=maps.device)
    window = padded[:, first[:, None] + (steps[:, None] * width + steps).flatten()]  # [5, P, side * side]
    opaque, depth = window[3] > OPAQUE, window[4]
    farthest = torch.where(opaque, depth, -torch.inf).amax(1)
    nearest = torch.where(opaque, depth, torch.inf).amin(1)
    hole = farthest <= ONE_SURFACE * nearest
    mean = ((window * opaque).sum(2) / opaque.sum(1))[:, hole]
    maps[frame[hole], :, row[hole], column[hole]] = mean.T
    return Drawing(maps[:, :3], maps[:, 3], maps[:, 4])


def _depth_and_focal(means: Tensor, camera: Cameras) -> tuple[Tensor, Tensor]:
    """Camera z of Gaussians [G], and the focal length of one camera, px."""
    return depth_of(means, camera.c2w[0].to(means)).clamp_min(1e-9), camera.K[0, 0, 0].to(means)
