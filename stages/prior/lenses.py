"""What is assumed about the focal lengths of two photographs before their matches are looked at.

Most pairs come from one camera with one lens. But one photograph may have been cut or zoomed, and EXIF may be wrong. So
several assumptions are tried. Each is a normal distribution of the logarithms of the two focal lengths, with a penalty
for how rare it is. The assumption with the lowest sum of cost (refine.py) and penalty wins (pose.py).
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stages.prior.refine import FocalPrior

# What is assumed of an unknown focal length f, in units of the image's longer side: log(f) is normally distributed. Its
# mean is log(0.65), a field of view of 75 degrees, and its standard deviation is 0.4. Phones and common zooms fit it.
FOCAL_MEAN, FOCAL_DEVIATION = 0.65, 0.4
# Standard deviation of the logarithm of a focal length from EXIF. EXIF states whole millimetres, often for the full
# sensor, although stabilisation and wide formats use only a part of it.
EXIF_DEVIATION = 0.1
EXIF_CORRELATION = 0.9  # correlation of these deviations in a pair: EXIF is wrong alike in photographs of one camera
ONE_LENS_DEVIATION = 0.003  # how much the logarithms of the focal lengths of one lens differ, because of the focus
# First guesses of the logarithm of an unknown focal length, relative to FOCAL_MEAN. They come from fields of view, in
# degrees, across the longer side.
GUESSES = tuple(math.log(0.5 / math.tan(math.radians(angle) / 2) / FOCAL_MEAN) for angle in (35, 50, 65, 80, 95))
# The penalties that follow are differences of log likelihood. TWO_LENSES is for two free focal lengths. The second one
# lowers the cost of every pair a little. It lowers the cost far more if one photograph of the pair was cut or zoomed.
# `make measure-pose` measures the cameras of pairs as they were taken, and with CHANGED=1 those of such pairs.
# TWO_LENSES is also for one lens if the photographs have two shapes and the focal lengths are equal relative to the
# longer sides.
TWO_LENSES = 7.0
# ALIKE_LENSES is added to TWO_LENSES if the two focal lengths are nearly equal, relative to the longer sides: their
# logarithms differ by less than ALIKE. Crops and zooms make them differ by more.
ALIKE, ALIKE_LENSES = 0.2, 9.0
CUT = 3.0  # one photograph is a part of a larger one, although both have the same shape
# EXIF is right for one photograph only. The other one was cut, and its EXIF is that of the whole photograph.
CUT_WITH_EXIF = 6.0
WRONG_EXIF, WRONG_UNUSUAL_EXIF = 12.0, 5.0  # EXIF is wrong; the second if the focal length that it states is unusual
UNUSUAL_EXIF = 1.0  # a focal length is unusual if the logarithm of its ratio to a usual one is farther than this from 0
OTHER_READING = 2.0  # EXIF means one of the less likely focal lengths, see `Known.readings`
# Two aspect ratios are equal but for rounding if their logarithms differ by less than this. Of two ratios of focal
# lengths whose logarithms differ by less than this, only the first is tried.
SAME_SHAPE = 0.03


@dataclass(frozen=True, eq=False)
class Known:
    """What the files of two photographs say.

    K: [2, 3, 3], working px, with a first guess of the focal lengths and the principal points at the centres.
    zoom: [2], working px for each px of the file.
    unknown: whether EXIF lacks the focal length of a photograph.
    readings: other focal lengths that the EXIF of each photograph may mean, as factors of that in K.
    """

    K: Tensor
    zoom: Tensor
    unknown: tuple[bool, bool]
    readings: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())

    @property
    def long_sides(self) -> Tensor:
        """The longer sides of the photographs, [2], working px. The shorter sides are equal."""
        return 2 * self.K[:, :2, 2].amax(1)

    @property
    def usual(self) -> Tensor:
        """Logarithms of the focal lengths of a usual camera, relative to those of K, [2]."""
        return (FOCAL_MEAN * self.long_sides / self.K[:, 0, 0]).log()


@dataclass(frozen=True, eq=False)
class Lenses:
    """An assumption about two focal lengths.

    source: what the focal lengths mostly come from, "exif" or "matches".  one_lens: whether one lens took both.
    prior: distribution of the logarithms of the focal lengths, relative to those of K.
    penalty: added to the cost.  starts: where a search begins, logarithms [2] each.
    """

    source: str
    one_lens: bool
    prior: FocalPrior
    penalty: float
    starts: tuple[Tensor, ...]

    def penalty_of(self, log_scales: Tensor) -> float:
        """The penalty of a solution under this assumption. log_scales: [2], of its focal lengths."""
        first, second = (log_scales - self.prior.mean).tolist()
        alike = self.source == "matches" and not self.one_lens and abs(second - first) < ALIKE
        return self.penalty + (ALIKE_LENSES if alike else 0.0)


def possible_lenses(known: Known, magnification: float) -> list[Lenses]:
    """The assumptions to try. magnification: how much larger the second photograph shows things, in working px."""
    # If the lenses alone make things look larger, the second focal length is `magnification` times the first one. This
    # is the logarithm of that ratio, after each focal length is divided by that in K.
    enlarged = (known.K[0, 0, 0] / known.K[1, 0, 0]).log() + math.log(magnification)
    doubted = [*_one_lens(known), _two_lenses(known, enlarged)]
    if all(known.unknown):
        return doubted
    stated = [float(usual) for usual, unknown in zip(known.usual, known.unknown, strict=True) if not unknown]
    unusual = max(abs(log_ratio) for log_ratio in stated) > UNUSUAL_EXIF
    wrong = WRONG_UNUSUAL_EXIF if unusual else WRONG_EXIF
    return [*_from_exif(known, enlarged), *(replace(other, penalty=other.penalty + wrong) for other in doubted)]


def _one_lens(known: Known) -> list[Lenses]:
    """One lens of any focal length took both photographs."""
    # Logarithms of the ratio of the second focal length to the first one, in working px. It is `cut` if the focal
    # lengths are equal in px of the files. It is `longer` if they are equal relative to the longer sides. It is 0 if
    # they are equal relative to the shorter sides.
    cut = float((known.zoom[1] / known.zoom[0]).log())
    longer = float((known.long_sides[1] / known.long_sides[0]).log())
    same_shape = [(longer, 0.0), (cut, CUT)]
    two_shapes = [(0.0, 0.0), (cut, 0.0), (longer, TWO_LENSES)]
    ratios = same_shape if abs(longer) < SAME_SHAPE else two_shapes
    lenses: list[Lenses] = []
    in_K = known.K[:, 0, 0].log()
    covariance = FOCAL_DEVIATION**2 * torch.ones(2, 2).to(in_K) + ONE_LENS_DEVIATION**2 * torch.eye(2).to(in_K)
    tried: list[float] = []
    for ratio, penalty in ratios:
        if any(abs(ratio - other) < SAME_SHAPE for other in tried):
            continue
        tried.append(ratio)
        mean = torch.stack([known.usual[0], known.usual[0] + in_K[0] + ratio - in_K[1]])
        guesses = GUESSES if len(tried) == 1 else GUESSES[1:4]
        starts = tuple(mean + guess for guess in guesses)
        lenses.append(Lenses("matches", True, FocalPrior(mean, covariance), penalty, starts))
    return lenses


def _two_lenses(known: Known, enlarged: Tensor) -> Lenses:
    """Both focal lengths are free. Things look larger because of the lens, of a step forward, or of both.

    enlarged: see `possible_lenses`.
    """
    covariance = FOCAL_DEVIATION**2 * torch.eye(2).to(known.K)
    guesses = [(GUESSES[2], 0.0), (GUESSES[2], 0.5), *((guess, 1.0) for guess in GUESSES[1:4])]
    first = known.usual[0]
    starts = tuple(torch.stack([first + guess, first + guess + part * enlarged]) for guess, part in guesses)
    return Lenses("matches", False, FocalPrior(known.usual, covariance), TWO_LENSES, starts)


def _from_exif(known: Known, enlarged: Tensor) -> list[Lenses]:
    """EXIF is right to 10 % for both photographs, or for one of them while the other's focal length is free.

    enlarged: see `possible_lenses`.
    """
    nothing = torch.zeros_like(enlarged)
    of_other = (torch.stack([nothing, enlarged]), torch.stack([-enlarged, nothing]))
    lenses = []
    if not any(known.unknown):
        exact = EXIF_DEVIATION**2 * torch.tensor([[1, EXIF_CORRELATION], [EXIF_CORRELATION, 1]]).to(known.K)
        for first in (1.0, *known.readings[0]):
            for second in (1.0, *known.readings[1]):
                mean = torch.tensor([math.log(first), math.log(second)]).to(known.K)
                penalty = OTHER_READING * ((first != 1) + (second != 1))
                lenses.append(Lenses("exif", False, FocalPrior(mean, exact), penalty, (mean,)))
    for right in (0, 1):
        if not known.unknown[right]:
            deviations = [EXIF_DEVIATION, FOCAL_DEVIATION] if right == 0 else [FOCAL_DEVIATION, EXIF_DEVIATION]
            prior = FocalPrior(torch.zeros(2).to(known.K), torch.tensor(deviations).to(known.K).square().diag())
            penalty = 0.0 if any(known.unknown) else CUT_WITH_EXIF
            starts = (torch.zeros(2).to(known.K), of_other[right])
            lenses.append(Lenses("exif", False, prior, penalty, starts))
    return lenses
