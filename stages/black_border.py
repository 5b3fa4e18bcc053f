"""The black border that undistortion and letterboxing leave around photographs.

It is part of the image, not of the scene, and stays the same in every frame. Taken for part of the scene, it would
become a dark rectangle that floats in space.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.scene import Clip

BRIGHTEST = 0.06  # a pixel is black if all its channels, in [0, 1], are below this; JPEG does not keep them at 0
LARGEST = 0.6  # black pixels on a larger share of the image than this mean a dark photograph, not a border
WHOLE_SIDE = 0.98  # a border runs along a side of the image if at least this share of the side's pixels is black


def black_border(images: Tensor) -> Tensor:
    """The black border that all images share, [h, w], boolean: the black pixels connected to the edge of the image.

    images: [N, 3, h, w] in [0, 1].
    The border must run along two opposite sides, so that a night sky is not taken for one. Otherwise all is False.
    """
    black = (images.amax(1) < BRIGHTEST).all(0)
    runs = [float(side.float().mean()) >= WHOLE_SIDE for side in (black[0], black[-1], black[:, 0], black[:, -1])]
    border = torch.zeros_like(black)
    if not ((runs[0] and runs[1]) or (runs[2] and runs[3])):
        return border
    # Flood fill: start at the edge, then add black neighbours until none is left.
    border[[0, -1]], border[:, [0, -1]] = black[[0, -1]], black[:, [0, -1]]
    count = 0
    while int(border.sum()) > count:
        count = int(border.sum())
        border = (F.max_pool2d(border[None].float(), 3, 1, 1)[0] > 0) & black
    return border if float(border.float().mean()) < LARGEST else torch.zeros_like(border)


def keep_border(clip: Clip, images: Tensor) -> Clip:
    """The clip with the black border of the photographs `images` [2, 3, h, w] laid over every frame.

    Without a shared border, or where the clip has another size than the photographs, the clip is returned as it is.
    """
    if clip.frames.shape[-2:] != images.shape[-2:]:
        return clip
    border = black_border(images).to(clip.frames.device)
    if not bool(border.any()):
        return clip
    return replace(clip, frames=torch.where(border, images.mean(0).to(clip.frames), clip.frames))
