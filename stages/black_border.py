"""The black border that undistortion and letterboxing leave around photographs: part of the image, not of the place.

It stands still in every frame of such a camera. Taken for the place, it would hang as a dark frame in the middle of the scene.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.scene import Clip

BLACK = 0.06  # the brightest a border gets, with the noise of compression
MOST = 0.6  # of an image that can be border: a black photograph has none
WHOLE = 0.98  # of a side's pixels are black where a border runs along it


def black_border(images: Tensor) -> Tensor:
    """The border that all of some images share, [h, w], boolean: black pixels that hang together with the edge of the image.

    images: [N, 3, h, w] in [0, 1].  There is none unless it runs along two opposite sides, so that a night sky is not taken for one.
    """
    black = (images.amax(1) < BLACK).all(0)
    runs = [float(side.float().mean()) >= WHOLE for side in (black[0], black[-1], black[:, 0], black[:, -1])]
    border = torch.zeros_like(black)
    if not ((runs[0] and runs[1]) or (runs[2] and runs[3])):
        return border
    border[[0, -1]], border[:, [0, -1]] = black[[0, -1]], black[:, [0, -1]]
    reached = 0
    while int(border.sum()) > reached:
        reached = int(border.sum())
        border = (F.max_pool2d(border[None].float(), 3, 1, 1)[0] > 0) & black
    return border if float(border.float().mean()) < MOST else torch.zeros_like(border)


def keep_border(clip: Clip, images: Tensor) -> Clip:
    """A clip with the black border of the photographs [2, 3, h, w], where they share one and the clip has their size."""
    if clip.frames.shape[-2:] != images.shape[-2:]:
        return clip
    border = black_border(images).to(clip.frames.device)
    if not bool(border.any()):
        return clip
    return replace(clip, frames=torch.where(border, images.mean(0).to(clip.frames), clip.frames))
