"""How well the matches support the cameras that were estimated from them.

"Working pixels" are explained in pose.py.
"""

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.errors import RunError
from stages.prior.epipolar import RelativePose, homography_error, magnification, pure_rotation
from stages.prior.lenses import FOCAL_MEAN, Lenses
from stages.prior.refine import Refined, scaled

# A pair has parallax if more than PARALLAX_SHARE of the matches miss the best homography. An exact match misses it if
# it is off by more than EXACT_PARALLAX working px, another match if it is off by more than LEAST_PARALLAX. Matches of
# enlarged photographs are less exact: without parallax, up to 14 % are off where one photograph shows things twice as
# large, and up to 26 % where three times. So the share grows with the enlargement.
EXACT_PARALLAX, LEAST_PARALLAX, PARALLAX_SHARE = 1.5, 3.0, 0.15
PARALLAX_SHARE_OF_KNOWN = 0.1  # with known lenses, more than this share must miss the best rotation
# With focal lengths from EXIF, matches that fit a homography still show parallax if more than ROTATION_SHARE of them
# miss the best rotation by more than LEAST_PARALLAX. This must hold for all pairs of factors that are tried: both focal
# lengths are multiplied by exp(c), for each c of COMMON, and the second one also by exp(r), for each r of RATIOS. A
# wrong ratio moves the matches by far more than a wrong common factor.
ROTATION_SHARE = 0.3
COMMON, RATIOS = (-0.2, 0.0, 0.2), tuple(0.02 * k for k in range(-6, 7))
FEW_INLIERS, FEW_SHARE = 40, 0.33  # evidence is weak with fewer inliers, or if they are a smaller share of the matches
# The cameras are doubted if the standard deviation of their rotation, or of the direction of their translation, is
# larger than this, degrees.
UNCERTAIN_ANGLES = (4.0, 12.0)
# How unusual a focal length is: the absolute logarithm of its ratio to a usual one. Focal lengths from the matches are
# always doubted if they contradict EXIF or are those of two lenses. Otherwise they are doubted outside 0.24 to 1.8
# times the longer side. If other focal lengths explain the matches as well, they are also doubted outside 0.43 to 0.99
# times, and where the two photographs, in working pixels, have different widths. One from EXIF is doubted only if it is
# outside 0.24 to 1.8 times and others explain the matches as well.
UNUSUAL, VERY_UNUSUAL = 0.42, 1.0


@dataclass(frozen=True, eq=False)
class Solution(RelativePose):
    """A pose, and how it was found.

    refined: the result of the refinement.  lenses: the assumption about the focal lengths, None if they are known.
    contested: whether other focal lengths with another pose explain the matches as well.
    """

    refined: Refined
    lenses: Lenses | None
    contested: bool


def refuse_without_parallax(
    a: Tensor, b: Tensor, exact: Tensor, K: Tensor, lenses: Lenses | None, matches: int
) -> bool:
    """Raise RunError when the inliers a, b show no parallax.

    Returns True if the focal lengths are from EXIF and the inliers show one flat surface, otherwise False. With known
    lenses a flat surface does no harm.

    a, b: [P, 2], the inliers, working px.  exact: [P], boolean, which inliers are exact.  K: [2, 3, 3], working px.
    matches: number of all matches, for the message.

    With unknown lenses, a homography that explains the matches may be a turn, a zoom or a flat surface, and tells no
    pose. With known lenses, a pure rotation that explains them shows that there is no parallax. Focal lengths from EXIF
    may be wrong by 10 % or more, so the rotation is less exact then.
    """
    enlarged = magnification(a, b)
    enlarged = max(enlarged, 1 / enlarged)
    allowed = PARALLAX_SHARE * max(1.0, enlarged - 1) if lenses else PARALLAX_SHARE_OF_KNOWN
    least = torch.where(exact, EXACT_PARALLAX, LEAST_PARALLAX).to(a)
    if lenses is not None:
        share = float((homography_error(a, b, EXACT_PARALLAX) > least).double().mean())
        if share > allowed:
            return False
    if lenses is None or lenses.source == "exif":
        a, b, K = (b, a, K.flip(0)) if magnification(a, b) > 1 else (a, b, K)
        tried = itertools.product(COMMON, RATIOS) if lenses else ((0.0, 0.0),)
        pairs = [torch.tensor([common, common + ratio], dtype=K.dtype) for common, ratio in tried]
        errors = [pure_rotation(a, b, scaled(K, pair))[1] for pair in pairs]
        bound = LEAST_PARALLAX if lenses else least  # the factors tried are too coarse for exact matches
        share = min(float((error > bound).double().mean()) for error in errors)
        if share > (ROTATION_SHARE if lenses else allowed):
            return lenses is not None
    raise RunError(
        "the two photographs were taken from one place, or show one flat surface",
        f"there are {matches} matches, and turning or zooming the camera explains {100 * (1 - share):.0f} % of the "
        f"{len(a)} matches that fit",
        "step sideways between the photographs, by a tenth of the distance to what you photograph",
    )


def doubts_of(solution: Solution, K: Tensor, matches: int, exif: bool, flat: bool) -> tuple[str, ...]:
    """Why the cameras may be wrong, one clause for each reason; empty if the evidence is good.

    K: [2, 3, 3], working px.  matches: their number.  exif: whether EXIF states a focal length.
    flat: the result of `refuse_without_parallax`.
    """
    doubts = []
    inliers = int(solution.inliers.sum())
    if inliers < max(FEW_INLIERS, FEW_SHARE * matches):
        doubts.append(f"only {inliers} of {matches} matches agree with the cameras")
    if flat:
        doubts.append("the matches lie on one flat surface")
    hessian = solution.refined.hessian
    # The small diagonal makes the matrix invertible.
    variance = torch.linalg.inv(hessian + 1e-6 * torch.eye(len(hessian)).to(hessian)).diagonal()
    rotation, direction = (float(torch.rad2deg(part.max().sqrt())) for part in (variance[:3], variance[3:5]))
    if rotation > UNCERTAIN_ANGLES[0] or direction > UNCERTAIN_ANGLES[1]:
        doubts.append(
            f"the direction in which the camera moved is known only to within {direction:.0f} degrees, "
            f"and its rotation to within {rotation:.0f}"
        )
    lenses = solution.lenses
    if lenses is None:
        return tuple(doubts)
    relative = [float(k[0, 0]) / (2 * float(k[:2, 2].max())) for k in K]  # focal lengths as shares of the longer side
    found = f"{', '.join(f'{focal:.2f}' for focal in relative)} of the longer sides"
    unusual = max(abs(math.log(focal / FOCAL_MEAN)) for focal in relative)
    if lenses.source == "exif" and solution.contested and unusual > VERY_UNUSUAL:
        doubts.append(f"EXIF states unusual focal lengths ({found}), and others explain the matches as well")
    if lenses.source == "matches":
        if exif:
            doubts.append(f"the focal lengths in EXIF contradict the matches, which give {found}")
        elif not lenses.one_lens:
            doubts.append(f"the photographs seem to be of two lenses, zooms or crops, with focal lengths of {found}")
        elif unusual > VERY_UNUSUAL:
            doubts.append(f"the focal lengths found are unusual: {found}")
        elif solution.contested and (unusual > UNUSUAL or abs(float(K[0, 0, 2] - K[1, 0, 2])) > 1):
            doubts.append(f"other focal lengths than those found ({found}) explain the matches as well")
    return tuple(doubts)
