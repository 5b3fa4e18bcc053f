"""How far a drawn picture is from its target."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

DSSIM = 0.2  # share of 1 - SSIM (Kerbl et al. 2023, eq. 7)
WINDOW, SIGMA = 11, 1.5  # Wang et al. 2004
C1, C2 = 0.01**2, 0.03**2


def picture_loss(pictures: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """(1 - 0.2) L1 + 0.2 (1 - SSIM) of each picture, its pixels weighted (Kerbl et al. 2023, eq. 7).

    pictures, truth: [N, 3, h, w].  weight: [N, h, w]; the sum is divided by the number of pixels, so a picture of small weights counts
    little.  Returns [N].
    """
    error = (1 - DSSIM) * (pictures - truth).abs() + DSSIM * (1 - ssim_map(pictures, truth))
    return (error * weight[:, None]).mean((1, 2, 3))


def ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity at every pixel, zeros beyond the edges as 3DGS has it. a, b: [N, 3, h, w]; returns the same shape."""
    mean_a, mean_b, mean_aa, mean_bb, mean_ab = _blur(torch.stack([a, b, a * a, b * b, a * b]))
    var_a, var_b, covariance = mean_aa - mean_a**2, mean_bb - mean_b**2, mean_ab - mean_a * mean_b
    top = (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
    return top / ((mean_a**2 + mean_b**2 + C1) * (var_a + var_b + C2))


def _blur(images: Tensor) -> Tensor:
    """Gaussian window means. images: [..., h, w]."""
    offsets = range(-(WINDOW // 2), WINDOW // 2 + 1)
    kernel = images.new_tensor([math.exp(-(offset**2) / (2 * SIGMA**2)) for offset in offsets])
    kernel = kernel / kernel.sum()
    # One channel an image: torch is 60 times slower with as many one-channel images in a batch.
    flat = images.reshape(1, -1, *images.shape[-2:])
    channels = flat.shape[1]
    rows = F.conv2d(flat, kernel.view(1, 1, 1, -1).expand(channels, -1, -1, -1), padding=(0, WINDOW // 2), groups=channels)
    blurred = F.conv2d(rows, kernel.view(1, 1, -1, 1).expand(channels, -1, -1, -1), padding=(WINDOW // 2, 0), groups=channels)
    return blurred.reshape(images.shape)
