"""Flicker and motion of a clip, without true frames. Motion is measured because a frozen clip never flickers."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.errors import InputError

COARSEST = 12  # the coarsest level of the image pyramid has a shorter side of at least this, px
WINDOW = 9  # side of the square in which all pixels are assumed to move alike, px
ITERATIONS = 4  # Gauss-Newton iterations at each level
STIFFNESS = 1e-4  # added to the structure tensor, so that motion from the coarser level stays where there is no texture

PROTOCOL = {
    "temporal flickering": "VBench: 1 - mean absolute difference of consecutive frames, all channels in [0, 1]",
    "mean flow": f"px per frame, mean length of pyramidal Lucas-Kanade flow on luma, window {WINDOW}, clip's size",
}


def flickering(frames: Tensor) -> Tensor:
    """VBench's temporal flickering of each pair of consecutive frames (Huang et al. 2024). It is 1 for equal frames.

    frames: [T, 3, h, w] in [0, 1], T >= 2.  Returns [T - 1], float64.  Raises InputError for fewer frames or NaN.
    """
    _check(frames)
    return 1 - (frames[1:].double() - frames[:-1].double()).abs().mean((1, 2, 3))


def mean_flow(frames: Tensor) -> Tensor:
    """Mean length of the flow between consecutive frames, px. frames: [T, 3, h, w].  Returns [T - 1], float64."""
    _check(frames)
    return torch.stack([flow(a, b).norm(dim=0).double().mean() for a, b in pairwise(frames)])


@torch.no_grad()
def flow(a: Tensor, b: Tensor) -> Tensor:
    """Optical flow of every pixel from image a to image b, coarse to fine (Lucas and Kanade 1981; Bouguet 2000).

    a, b: [3, h, w] in [0, 1].  Returns [2, h, w], px: pixel (x, y) of a is at (x, y) + flow in b.
    """
    # Both images as luma (ITU-R BT.601), at full size and at halved sizes.
    weights = a.new_tensor([0.299, 0.587, 0.114])
    levels = [tuple((weights @ x.flatten(1)).view(1, 1, *x.shape[1:]).float() for x in (a, b))]
    while min(levels[-1][0].shape[-2:]) >= 2 * COARSEST:
        levels.append((F.avg_pool2d(levels[-1][0], 2), F.avg_pool2d(levels[-1][1], 2)))
    # From the coarsest level up, enlarge the motion and improve it.
    motion = levels[-1][0].new_zeros(1, 2, *levels[-1][0].shape[-2:])
    for image, target in reversed(levels):
        size = image.shape[-2:]
        growth = motion.new_tensor([size[1] / motion.shape[-1], size[0] / motion.shape[-2]])[None, :, None, None]
        motion = F.interpolate(motion, size, mode="bilinear", align_corners=False) * growth
        for _ in range(ITERATIONS):
            motion = _smooth(motion + _increment(image, _warp(target, motion)))
    return motion[0]


def _increment(image: Tensor, warped: Tensor) -> Tensor:
    """Least-squares motion of each window between two images [1, 1, h, w], returned as [1, 2, h, w], px."""
    # Derivatives in x, y and time.
    mean = F.pad((image + warped) / 2, (1, 1, 1, 1), mode="replicate")
    dx = (mean[..., 1:-1, 2:] - mean[..., 1:-1, :-2]) / 2
    dy = (mean[..., 2:, 1:-1] - mean[..., :-2, 1:-1]) / 2
    dt = warped - image
    # The 2 x 2 normal equations of each window, solved by Cramer's rule.
    products = torch.cat([dx * dx, dx * dy, dy * dy, dx * dt, dy * dt], 1)
    xx, xy, yy, xt, yt = _smooth(products)[0]
    xx, yy = xx + STIFFNESS, yy + STIFFNESS
    determinant = xx * yy - xy * xy
    return torch.stack([xy * yt - yy * xt, xy * xt - xx * yt])[None] / determinant


def _smooth(x: Tensor) -> Tensor:
    """Mean over the window.

    It is applied to the motion as well. An iteration assumes one motion per window, and differences inside a window
    would otherwise grow with every iteration.
    """
    return F.avg_pool2d(x, WINDOW, 1, WINDOW // 2, count_include_pad=False)


def _warp(image: Tensor, motion: Tensor) -> Tensor:
    """Sample `image` [1, 1, h, w] at each pixel plus its motion [1, 2, h, w]. Edge pixels repeat outside."""
    h, w = image.shape[-2:]
    rows, columns = (torch.arange(count, device=image.device) + 0.5 for count in (h, w))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    grid = torch.stack([(x + motion[0, 0]) * 2 / w - 1, (y + motion[0, 1]) * 2 / h - 1], -1)
    return F.grid_sample(image, grid[None], align_corners=False, padding_mode="border")


def _check(frames: Tensor) -> None:
    if frames.dim() != 4 or len(frames) < 2:
        why = f"its frames are {tuple(frames.shape)}"
        raise InputError("a clip cannot be measured", why, "give at least two frames")
    if not torch.isfinite(frames).all():
        raise InputError("a clip cannot be measured", "its frames hold NaN or infinite values", "check their source")
