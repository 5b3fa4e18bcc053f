"""Leaves out the matches of what was laid over both photographs: a watermark, a logo, the bars of a screenshot.

Such a mark has the same place in both, while the scene moves. Its matches would pull the camera towards standing still.
"""

import torch
from torch import Tensor

# A match is still if it moves by less than STILL, and slow if it moves by STILL to SLOW, working px. Without a mark,
# more matches are slow than still.
STILL, SLOW = 1.0, 3.0
LEAST_STILL = 8  # fewer still matches than this do no harm
MOST_STILL = 0.5  # if a larger share is still, so is the camera


def moving(a: Tensor, b: Tensor) -> Tensor:
    """Which matches do not belong to still marks, [M], boolean. a, b: [M, 2], working px of photographs of one size."""
    distance = (a - b).abs().amax(1)
    still = distance < STILL
    count, slow = int(still.sum()), int(((distance >= STILL) & (distance < SLOW)).sum())
    marked = LEAST_STILL <= count < MOST_STILL * len(a) and count > slow
    return ~still if marked else torch.ones_like(still)
