"""The loss between a rendered image and its target."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

DSSIM = 0.2  # lambda, the weight of 1 - SSIM (Kerbl et al. 2023, eq. 7)
WINDOW, SIGMA = 11, 1.5  # width of SSIM's window and standard deviation of its weights, px (Wang et al. 2004)
C1, C2 = 0.01**2, 0.03**2  # SSIM's stabilising constants, for values in [0, 1] (Wang et al. 2004)


def picture_loss(pictures: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """(1 - lambda) L1 + lambda (1 - SSIM) of each image, with a weight per pixel (Kerbl et al. 2023, eq. 7).

    pictures, truth: [N, 3, h, w].  weight: [N, h, w].  Returns [N].
    The weighted sum is divided by the number of pixels, so an image with small weights has a small loss.
    """
    error = (1 - DSSIM) * (pictures - truth).abs() + DSSIM * (1 - ssim_map(pictures, truth))
    return (error * weight[:, None]).mean((1, 2, 3))


def ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity at every pixel, as in 3DGS with zeros outside the image. Differentiable in `a` only.

    a, b: [N, 3, h, w].  Returns [N, 3, h, w].
    """
    similarity: Tensor = _Ssim.apply(a, b.detach())
    return similarity


class _Ssim(torch.autograd.Function):
    """SSIM with a hand-written gradient that blurs three images. Autograd would blur five."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        mean_a, mean_b, mean_aa, mean_bb, mean_ab = _blur(torch.stack([a, b, a * a, b * b, a * b]))
        squares = mean_a * mean_a + mean_b * mean_b
        below = (squares + C1) * (mean_aa + mean_bb - squares + C2)
        luminance, contrast = 2 * mean_a * mean_b + C1, 2 * (mean_ab - mean_a * mean_b) + C2
        similarity = luminance * contrast / below
        ctx.save_for_backward(a, b, mean_a, mean_b, squares, below, luminance, contrast, similarity)
        return similarity

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        a, b, mean_a, mean_b, squares, below, luminance, contrast, similarity = ctx.saved_tensors
        # Derivatives of the similarity with respect to the blurred a * a, a * b and a.
        by_variance = -similarity * (squares + C1) / below
        by_covariance = 2 * luminance / below
        by_mean = 2 * (mean_b * contrast / below - mean_a * similarity / (squares + C1))
        by_mean = by_mean - 2 * mean_a * by_variance - mean_b * by_covariance
        # The blur is symmetric, so it is its own backward pass.
        to_mean, to_square, to_product = _blur(torch.stack([by_mean, by_variance, by_covariance]) * gradient)
        return to_mean + 2 * a * to_square + b * to_product, None


def _blur(images: Tensor) -> Tensor:
    """Gaussian-weighted means over windows, with zeros outside. images: [..., h, w]; returns the same shape."""
    offsets = range(-(WINDOW // 2), WINDOW // 2 + 1)
    kernel = images.new_tensor([math.exp(-(offset**2) / (2 * SIGMA**2)) for offset in offsets])
    kernel = kernel / kernel.sum()
    # Every image is a channel of one batch element. With one batch element per image torch is 60 times slower.
    flat = images.reshape(1, -1, *images.shape[-2:])
    channels = flat.shape[1]
    horizontal, vertical = (kernel.view(1, 1, *size).expand(channels, -1, -1, -1) for size in ((1, -1), (-1, 1)))
    rows = F.conv2d(flat, horizontal, padding=(0, WINDOW // 2), groups=channels)
    blurred = F.conv2d(rows, vertical, padding=(WINDOW // 2, 0), groups=channels)
    return blurred.reshape(images.shape)
