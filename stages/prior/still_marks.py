"""Leaves out the matches of what was laid over both photographs: a watermark, a logo, the bars of a screenshot.

Such a mark has the same place in both, while the scene moves. Its matches would pull the camera towards standing still.
"""

import torch
from torch import Tensor

from stages.prior.matching import SHORT_SIDE, Matches

# A match is still if it moves by less than STILL, and slow if it moves by STILL to SLOW, working px. Without a mark,
# more matches are slow than still. The matcher finds whole pixels, which are about one working px apart, so both bounds
# lie between such steps.
STILL, SLOW = 0.8, 2.8
LEAST_STILL = 8  # fewer still matches than this do no harm
MOST_STILL = 0.5  # if a larger share is still, so is the camera


def without_still_marks(matches: Matches, sizes: list[tuple[int, int]]) -> Matches:
    """The matches of two images of these sizes (h, w) that do not belong to still marks. Images of two sizes have none.

    The matches must be those of the matcher itself, because `exact_matches` may move the point of a mark.
    """
    if sizes[0] != sizes[1]:
        return matches
    zoom = SHORT_SIDE / min(sizes[0])
    kept = moving(matches.points_a.double() * zoom, matches.points_b.double() * zoom)
    return Matches(matches.points_a[kept], matches.points_b[kept], matches.scores[kept], matches.exact[kept])


def moving(a: Tensor, b: Tensor) -> Tensor:
    """Which matches do not belong to still marks, [M], boolean. a, b: [M, 2], working px of photographs of one size."""
    distance = (a - b).abs().amax(1)
    still = distance < STILL
    count, slow = int(still.sum()), int(((distance >= STILL) & (distance < SLOW)).sum())
    marked = LEAST_STILL <= count < MOST_STILL * len(a) and count > slow
    return ~still if marked else torch.ones_like(still)
