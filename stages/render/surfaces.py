"""Keeps surfaces closed that come nearer than their photograph saw them.

A Gaussian is about as large as the pixel that it was predicted from. Seen from half the distance the pixels are two
pixels apart, and what lies behind would shine through. So Gaussians grow with magnification, as surface splatting does
(Zwicker et al. 2001), and small holes in a surface are closed.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.geometry import depth_of
from stages.scene import Cameras, Gaussians
from stages.splat import Drawing

# The renderer blurs each Gaussian by this variance, px^2 (Kerbl et al. 2023). It closes gaps of one pixel.
BLUR = 0.3
MOST = 4.0  # Gaussians grow no further than for this magnification
OPAQUE = 0.95  # alpha of a closed surface
RADIUS = 2  # a hole is compared with the pixels in a window of 2 RADIUS + 1
SOLID = 0.5  # a hole is closed if at least this share of the window is opaque
ONE_SURFACE = 1.05  # depths belong to one surface if the largest is at most this many times the smallest


def grow(gaussians: Gaussians, photograph: Cameras, camera: Cameras) -> Gaussians:
    """A photograph's Gaussians, enlarged for a camera to which they are nearer.

    photograph, camera: one camera each. Gaussians that appear smaller than in their photograph stay as they are.
    """
    means = gaussians.means
    (own, own_focal), (now, focal) = _depth_and_focal(means, photograph), _depth_and_focal(means, camera)
    magnification = (own * focal / (now * own_focal)).clamp(1, MOST)
    variance = BLUR * (own / own_focal) ** 2 * (1 - magnification**-2)
    return replace(gaussians, scales=(gaussians.scales**2 + variance[:, None]).sqrt())


def close(drawing: Drawing) -> Drawing:
    """Close small holes that lie within one surface: with the mean colour and depth of the opaque pixels around."""
    h, w = drawing.alpha.shape[-2:]
    # Only the few pixels that are not opaque among opaque ones are looked at. Beyond the edges all is transparent.
    maps = torch.cat([drawing.image, drawing.alpha[:, None], drawing.depth[:, None]], 1)
    side, width = 2 * RADIUS + 1, w + 2 * RADIUS
    padded = F.pad(maps, (RADIUS,) * 4).transpose(0, 1).flatten(1)
    opaque = (drawing.alpha > OPAQUE).float()
    share = F.avg_pool2d(opaque, side, 1, RADIUS)
    frame, row, column = ((opaque == 0) & (share >= SOLID)).nonzero().T
    first = (frame * (h + 2 * RADIUS) + row) * width + column  # of the window around each of them
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
