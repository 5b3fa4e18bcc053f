"""The difference in exposure and white balance of two photographs.

Two phones, or one phone twice, do not choose the same exposure. Blended as they are, the two photographs would show a
seam where one ends. So the exposure of the frames changes evenly from that of the first photograph to that of the
second. If these differ noticeably, the prior's network gets both photographs in the exposure half-way between.
"""

import torch
from torch import Tensor

from stages.overlap import other_photograph
from stages.scene import Exposure, Views

SAME_SURFACE = 0.03  # both photographs show a point if its two depths differ by less than this share
DARKEST, BRIGHTEST = 0.03, 0.97  # colours outside this range may be clipped by the camera and are left out
FEWEST = 200  # smallest number of points that both photographs must show
TYPICAL_RESIDUAL = 0.05  # colour difference after correction at which a point counts half, in [0, 1]
REWEIGHTINGS = 12  # iterations of the robust fit
GAIN_PRIOR = 4e-4  # added to the variance and the covariance of colours, which draws the gain towards 1
GAINS = (0.4, 2.5)  # bounds of the gain


def estimate_exposure(views: Views) -> Exposure:
    """Fit the exposure to the colours of surfaces that both photographs show.

    views: the two photographs, with depth.
    With fewer than FEWEST common points, both photographs count as equally exposed.
    """
    (own, other), (back_own, back_other) = (_common_colours(views, k) for k in (0, 1))
    first, second = torch.cat([own, back_other]), torch.cat([other, back_own])
    clear = ((torch.cat([first, second], 1) > DARKEST) & (torch.cat([first, second], 1) < BRIGHTEST)).all(1)
    first, second = first[clear], second[clear]
    if len(first) < FEWEST:
        return Exposure.same()
    # A fit of one photograph to the other is biased towards a gain of 0, so the mean of both directions is taken.
    (gain, offset), (back, back_offset) = _robust_line(first, second), _robust_line(second, first)
    gain = (gain / back).sqrt()
    return Exposure(gain.cpu(), ((offset - back_offset * gain) / 2).cpu())


def _common_colours(views: Views, photograph: int) -> tuple[Tensor, Tensor]:
    """Colours [P, 3] of a photograph's pixels that the other photograph shows too, and the other's colours there."""
    other, apart = other_photograph(views, photograph)
    same = apart < SAME_SURFACE
    return views.images[photograph].to(other)[:, same].T, other[:, same].T


def _robust_line(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Gain and offset [3] of y = gain x + offset by reweighted least squares. x, y: [P, 3]."""
    gain, offset = torch.ones(3).to(x), torch.zeros(3).to(x)
    for _ in range(REWEIGHTINGS):
        residual = (y - gain * x - offset).norm(dim=1, keepdim=True)
        weight = 1 / (1 + (residual / TYPICAL_RESIDUAL) ** 2)
        total = weight.mean()
        mean_x, mean_y = (weight * x).mean(0) / total, (weight * y).mean(0) / total
        variance = (weight * (x - mean_x) ** 2).mean(0) / total
        covariance = (weight * (x - mean_x) * (y - mean_y)).mean(0) / total
        gain = ((covariance + GAIN_PRIOR) / (variance + GAIN_PRIOR)).clamp(*GAINS)
        offset = mean_y - gain * mean_x
    return gain, offset
