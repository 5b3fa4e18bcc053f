"""The difference in exposure and white balance of two photographs.

Two phones, or one phone twice, do not choose the same exposure. Blended as they are, the two photographs would show a
seam where one ends. So a frame near the first photograph has that photograph's exposure, one near the second has the
other's, and in the middle both meet half-way. The prior's network sees both half-way too, or it would not match them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stages.overlap import other_photograph
from stages.scene import Gaussians, Views, colours_to_sh

SAME_SURFACE = 0.03  # both photographs show a point if its depth differs from the other's surface by less than this
DARKEST, BRIGHTEST = 0.03, 0.97  # colours outside this range are clipped by the camera and tell nothing
FEWEST = 200  # points that both photographs must show
TYPICAL_RESIDUAL = 0.05  # colours that differ more than this after correction count for less
REWEIGHTINGS = 12  # iterations of the robust fit
GAIN_PRIOR = 4e-4  # how strongly the gain is drawn towards 1, as a variance of colour
GAINS = (0.4, 2.5)  # bounds of the gain
NOTICEABLE = 0.03  # change of middle grey, in [0, 1], by which an exposure counts as different


@dataclass(frozen=True, eq=False)
class Exposure:
    """second photograph = gain * first photograph + offset, for each colour channel.

    gain, offset: [3], on the CPU.
    """

    gain: Tensor
    offset: Tensor

    @classmethod
    def same(cls) -> Exposure:
        """Both photographs have the same exposure."""
        return cls(torch.ones(3), torch.zeros(3))

    @property
    def noticeable(self) -> bool:
        """Whether the photographs differ by more than NOTICEABLE."""
        return float((self.gain * 0.5 + self.offset - 0.5).abs().max()) > NOTICEABLE

    def bring(self, colours: Tensor, photograph: int, share: Tensor) -> Tensor:
        """Colours of a photograph, brought a share of the way to the exposure of the other one.

        colours: [N, 3, h, w].  photograph: 0 or 1.  share: [N], 0 leaves the colours as they are, 1 goes all the way.
        """
        gain, offset = (values.to(colours)[:, :, None, None] for values in self.part(photograph, share))
        return colours * gain + offset

    def part(self, photograph: int, share: Tensor) -> tuple[Tensor, Tensor]:
        """Gain and offset, [N, 3], that bring a photograph a share [N] of the way to the exposure of the other one."""
        gain, offset = (values.to(share.device) for values in self._of(photograph))
        return gain ** share[:, None].to(gain), offset * share[:, None].to(offset)

    def half_way(self, images: Tensor) -> Tensor:
        """Both photographs, [2, 3, h, w], brought to the exposure half-way between theirs."""
        return torch.cat([self.bring(images[[k]], k, torch.tensor([0.5])) for k in (0, 1)]).clamp(0, 1)

    def own_colours(self, gaussians: Gaussians) -> Gaussians:
        """Give Gaussians that were predicted from the images of `half_way` the exposure of their own photographs."""
        assert gaussians.photograph is not None, "the prior sets photograph"
        gain, offset = (torch.stack(pair).to(gaussians.sh) for pair in zip(self._of(0), self._of(1), strict=True))
        which = gaussians.photograph.long()
        gain = gain[which].sqrt()
        colours = (gaussians.colours - 0.5 * offset[which]) / gain
        sh = torch.cat([colours_to_sh(colours), gaussians.sh[:, 1:] / gain[:, None]], 1)
        return replace(gaussians, sh=sh)

    def _of(self, photograph: int) -> tuple[Tensor, Tensor]:
        """Gain and offset that bring this photograph to the other one."""
        return (self.gain, self.offset) if photograph == 0 else (1 / self.gain, -self.offset / self.gain)


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
