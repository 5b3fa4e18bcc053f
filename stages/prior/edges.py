"""Lets the depth of a photograph jump where the photograph has an edge.

Between two surfaces the network's depth passes from one to the other over several pixels. Gaussians of these pixels lie
on neither surface, and are specks in frames that show the space between the two. So near a jump a pixel takes the
median depth of the pixels around it, which lies on a surface. Pixels of a similar colour weigh more (Ma et al. 2013,
"Constant Time Weighted Median Filtering"). Depth that the other photograph confirms stays.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

JUMP = 1.1  # depth jumps where the largest of 5 x 5 pixels is more than this many times the smallest
BESIDE = 6  # pixels up to this far from a jump change, px
RADIUS, STEP = 6, 3  # the median is taken over every STEP-th pixel, up to RADIUS px away in each direction
ALIKE = 0.08  # the weight of a pixel falls to 1/e where its colour differs by this much, mean over the channels
FARTHER = 1.02  # a pixel whose depth grew by more than this factor was moved to the farther surface


def sharp_depth(depth: Tensor, image: Tensor, unsure: Tensor) -> Tensor:
    """Depth [h, w] with the edges of the image [3, h, w].

    unsure: [h, w], boolean, pixels whose depth is not confirmed. All others, and pixels far from a jump, stay.
    """
    w, steps = depth.shape[1] + 2 * RADIUS, torch.arange(0, 2 * RADIUS + 1, STEP, device=depth.device)
    offsets = (steps[:, None] * w + steps).flatten()
    row, column = (_near_jumps(depth) & unsure).nonzero().T
    around = (row * w + column)[:, None] + offsets  # [P, K], indices of the surrounding pixels in the padded maps
    values = F.pad(depth[None, None], (RADIUS,) * 4, mode="replicate").flatten()[around]
    colours = F.pad(image[None], (RADIUS,) * 4, mode="replicate")[0].flatten(1)[:, around]
    apart = (colours - image[:, row, column, None]).abs().mean(0)
    sharp = depth.clone()
    sharp[row, column] = weighted_median(values, torch.exp(-((apart / ALIKE) ** 2)))
    # Pixels on the edge itself have a mixed colour. Those that were moved to the farther surface, but lie next to the
    # nearer one, are moved to the nearer one. So a thin object keeps its width.
    nearest = -F.max_pool2d(-sharp[None], 3, 1, 1)[0]
    return torch.where((sharp > JUMP * nearest) & (sharp > FARTHER * depth), nearest, sharp)


def weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """The smallest value of each row up to which half of the weight lies, [P]. values, weights: [P, K]."""
    values, order = values.sort(1)
    weight = weights.gather(1, order).cumsum(1)
    index = (weight < weight[:, -1:] / 2).sum(1, keepdim=True)
    return values.gather(1, index)[:, 0]


def _near_jumps(depth: Tensor) -> Tensor:
    """The pixels within BESIDE px of a jump, [h, w], boolean."""
    largest, smallest = F.max_pool2d(depth[None], 5, 1, 2), -F.max_pool2d(-depth[None], 5, 1, 2)
    jump = (largest > JUMP * smallest).to(depth)
    return F.max_pool2d(jump, 2 * BESIDE + 1, 1, BESIDE)[0] > 0
