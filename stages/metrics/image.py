"""PSNR and SSIM of frames against the true frames.

Both work in float64, one frame at a time, so values do not depend on the batch or on the number of threads.
"""

import math

import torch
from torch import Tensor

from stages.errors import InputError

# Wang et al. 2004, as pixelSplat and MVSplat use it (scikit-image's structural_similarity with gaussian_weights): width
# of the window, px; standard deviation of its Gaussian, px; the constants K1 and K2.
SSIM_WINDOW, SSIM_SIGMA, SSIM_K1, SSIM_K2 = 11, 1.5, 0.01, 0.03


def check_frames(frames: Tensor, truth: Tensor) -> None:
    """Raise InputError unless both are finite and of the same shape [T, C, h, w]."""
    if frames.shape != truth.shape or frames.dim() != 4:
        why = f"{tuple(frames.shape)} frames, {tuple(truth.shape)} in the truth"
        raise InputError("frames cannot be compared", why, "give clips of equal length and size")
    for name, value in (("the frames", frames), ("the truth", truth)):
        if not torch.isfinite(value).all():
            raise InputError("frames cannot be compared", f"{name} hold NaN or infinite values", "check their source")


def psnr(frames: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each frame, dB, for a peak of 1. It is infinite for equal frames.

    frames, truth: [T, C, h, w] in [0, 1].  Returns [T], float64.  Raises InputError if they cannot be compared.
    """
    check_frames(frames, truth)
    error = (frames.double() - truth.double()).square().mean((1, 2, 3))
    return -10 * torch.log10(error)


def psnr_of_part(frames: Tensor, truth: Tensor, part: Tensor) -> float | None:
    """PSNR over chosen pixels of all frames together, dB, or None if no pixel is chosen.

    frames, truth: [T, C, h, w].  part: [T, h, w], boolean, the chosen pixels.
    """
    check_frames(frames, truth)
    error = (frames.double() - truth.double()).square().mean(1)[part]
    return float(-10 * torch.log10(error.mean())) if len(error) else None


def ssim(frames: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of each frame (Wang et al. 2004), averaged over channels and over windows inside the frame.

    frames, truth: [T, C, h, w] in [0, 1].  Returns [T], float64.
    Raises InputError if they cannot be compared or have a side below 11 pixels.
    """
    check_frames(frames, truth)
    if min(frames.shape[-2:]) < SSIM_WINDOW:
        why = f"frames of {tuple(frames.shape[-2:])} pixels"
        raise InputError("SSIM is not defined", why, f"give sides of at least {SSIM_WINDOW} pixels")
    return torch.stack([_ssim_of_one(x.double(), y.double()) for x, y in zip(frames, truth, strict=True)])


def _ssim_of_one(x: Tensor, y: Tensor) -> Tensor:
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = _window_means(torch.stack([x, y, x * x, y * y, x * y]))
    sample = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)  # factor to the sample covariance, as in scikit-image
    var_x, var_y = sample * (mean_xx - mean_x**2), sample * (mean_yy - mean_y**2)
    covariance = sample * (mean_xy - mean_x * mean_y)
    c1, c2 = SSIM_K1**2, SSIM_K2**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    similarity: Tensor = (luminance * structure).mean()
    return similarity


def _window_means(images: Tensor) -> Tensor:
    """Gaussian-weighted means over each whole 11 x 11 window. images: [..., h, w]; returns [..., h - 10, w - 10]."""
    offsets = range(-(SSIM_WINDOW // 2), SSIM_WINDOW // 2 + 1)
    weights = [math.exp(-(offset**2) / (2 * SSIM_SIGMA**2)) for offset in offsets]
    for dim in (-2, -1):
        # A sum of shifted images, because a float64 convolution would first copy each image 11 times.
        length = images.shape[dim] - SSIM_WINDOW + 1
        total = torch.zeros_like(images.narrow(dim, 0, length))
        for start, weight in enumerate(weights):
            total.add_(images.narrow(dim, start, length), alpha=weight / sum(weights))
        images = total
    return images
