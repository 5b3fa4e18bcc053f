"""Fills transparent pixels of a frame smoothly from their surroundings, so that frames have no black holes."""

import torch
import torch.nn.functional as F
from torch import Tensor


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
