"""The cameras of two photographs, estimated from the photographs, and the depth range of the scene.

Matches (matching.py, exact_matches.py) give a relative pose by RANSAC, for each of several focal lengths or for a known
one (epipolar.py). Pose and focal lengths are refined together (refine.py). Several assumptions about the lenses compete
(lenses.py). Pairs without parallax are refused, and doubts about the others are stated (evidence.py). Matches are
triangulated, and the depths of the points give the range. "Working pixels" are pixels of an image resized to a short
side of 512. Its long side has no bound here, unlike in matching.py. Thresholds in working pixels suit photographs of
any size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stages.errors import RunError
from stages.geometry import depth_of, fundamental, fundamental_of
from stages.prior.epipolar import (
    LIKELY_TRIALS,
    RelativePose,
    fits_any_lens,
    magnification,
    ransac,
    sampson_error,
    triangulate,
)
from stages.prior.evidence import Solution, doubts_of, refuse_without_parallax
from stages.prior.exact_matches import exact_matches
from stages.prior.lenses import FOCAL_MEAN, Known, Lenses, possible_lenses
from stages.prior.matching import SHORT_SIDE, Matches, match
from stages.prior.orientation import refuse_mirrored, refuse_turned
from stages.prior.refine import Refined, refine, scaled
from stages.prior.still_marks import without_still_marks
from stages.scene import Cameras, Views

INLIER = 2.0  # a match is an inlier if it is at most this far from its epipolar line, working px
# Position noise of exact matches and of the others in the refinement, working px; chosen by the errors of cameras on
# validation scenes with known cameras.
EXACT_NOISE, OTHER_NOISE = 0.5, 2.5
LEAST_INLIERS = 20  # fewer inliers than this are no evidence for a pose
# A solution explains the matches as well as the chosen one if its cost (refine.py) is at most RIVAL higher, in units of
# log likelihood. It contests the chosen one if its rotation or the direction of its translation also differs by more
# than RIVAL_ANGLES, degrees.
RIVAL, RIVAL_ANGLES = 3.0, (2.0, 10.0)
# With fewer matches than SURELY_UPRIGHT, turns of the second photograph are tried at once, and with fewer than
# SURELY_NOT_MIRRORED its mirror image. With more, turns are tried only if no cameras are found, and the mirror image
# only if the cameras fit too few matches. A turn by 90 degrees leaves at most about 100 matches, but a mirrored
# photograph may keep hundreds.
SURELY_UPRIGHT, SURELY_NOT_MIRRORED = 150, 500
# A mirrored photograph with many details may keep even more. But then fewer than this share of them fits any cameras.
SHARE_THAT_FITS = 0.6
# (quantile, factor) of the near depth and of the far depth. Each is this quantile of the triangulated depths times this
# factor, which leaves room for parts without matches.
NEAR, FAR = (0.02, 0.7), (0.98, 2.5)
# Near and far in units of the baseline, for pairs with too few triangulated points.
BASELINE_NEAR, BASELINE_FAR = 1.0, 50.0


Focals = tuple[tuple[float, ...], tuple[float, ...]]
"""The focal lengths that the EXIF of each photograph may mean, px, the most likely one first; empty if none."""


@dataclass(frozen=True, eq=False)
class PairGeometry:
    """Two cameras estimated from matches. World coordinates are those of the first camera.

    c2w: [2, 4, 4].  K: [2, 3, 3], px of the input images.  near_far: [2, 2], z range of each view.  points: [P, 3].
    The unit of length is the median depth of the points in the first camera.
    matches, inliers: how many there are. Matches of watermarks and other still marks are left out (still_marks.py).
    focal_source: "given", "exif", or "matches": estimated from them and from what lenses.py assumes.
    parallax: median angle between the two rays of a point, degrees.
    error: median epipolar distance of the inliers, working px.
    doubts: why the cameras may be wrong, one clause for each reason; empty if the evidence is good.
    """

    c2w: Tensor
    K: Tensor
    near_far: Tensor
    points: Tensor
    matches: int
    inliers: int
    focal_source: str
    parallax: float
    error: float
    doubts: tuple[str, ...]

    def facts(self) -> dict[str, object]:
        """The entries for the manifest."""
        return {
            "cameras": "matches",
            "matches": self.matches,
            "inliers": self.inliers,
            "focal_source": self.focal_source,
            "focal_px": [round(float(k[0, 0]), 2) for k in self.K],
            "parallax_degrees": round(self.parallax, 3),
            "epipolar_error_px": round(self.error, 3),
            "evidence": "weak" if self.doubts else "good",
            "doubts": list(self.doubts),
        }


def estimate_cameras(images: Sequence[Tensor], focals: Focals = ((), ()), K: Tensor | None = None) -> PairGeometry:
    """Estimate the cameras of two overlapping photographs.

    images: two of [3, h, w] in [0, 1]; sizes may differ.  focals: focal lengths from EXIF, px of the image.
    K: [2, 3, 3], px, if the intrinsics are known; `focals` is ignored then.  Without K the principal point is the
    centre.
    Raises RunError when the photographs share too few matches or were taken from one position, when they show one flat
    surface and their focal lengths are unknown, or when one is mirrored or turned by 90, 180 or 270 degrees.
    Raises WeightsError when the matcher's weights are missing.
    """
    sizes = [(image.shape[-2], image.shape[-1]) for image in images]
    matches = without_still_marks(match(images[0], images[1]), sizes)
    if len(matches) < SURELY_UPRIGHT:
        refuse_turned(images, len(matches))
    if len(matches) < SURELY_NOT_MIRRORED:
        refuse_mirrored(images, len(matches))
    matches = exact_matches(images, matches)
    try:
        found = cameras_from_matches(matches, sizes, focals, K)
    except RunError:
        if len(matches) >= SURELY_UPRIGHT:
            refuse_turned(images, len(matches))
        raise
    if len(matches) >= SURELY_NOT_MIRRORED and found.inliers < SHARE_THAT_FITS * found.matches:
        refuse_mirrored(images, len(matches))
    return found


def cameras_from_matches(
    matches: Matches, sizes: list[tuple[int, int]], focals: Focals = ((), ()), K: Tensor | None = None
) -> PairGeometry:
    """`estimate_cameras` for two images of the sizes (h, w) with these matches."""
    # Matches in working pixels.
    zoom = torch.tensor([SHORT_SIDE / min(size) for size in sizes], dtype=torch.float64)
    a, b = matches.points_a.double() * zoom[0], matches.points_b.double() * zoom[1]
    noise = torch.full_like(a[:, 0], EXACT_NOISE).where(matches.exact, OTHER_NOISE)
    count = len(a)
    # Pose and intrinsics.
    if K is not None:
        solution, working_K = _solve_with_known(a, b, noise, K.double().expand(2, 3, 3) * _zoom(zoom))
    else:
        first_K = _first_guess(sizes, focals) * _zoom(zoom)
        others = [tuple(focal / readings[0] for focal in readings[1:]) for readings in focals]
        known = Known(first_K, zoom, (not focals[0], not focals[1]), (others[0], others[1]))
        solution, working_K = _solve_unknown(a, b, noise, known)
    a, b, exact = (part[solution.inliers] for part in (a, b, matches.exact))
    flat = refuse_without_parallax(a, b, exact, working_K, solution.lenses, count)
    doubts = doubts_of(solution, working_K, count, any(focals), flat)
    return _finish(a, b, solution, working_K, zoom, count, doubts)


def match_views(views: Views) -> tuple[Views, Tensor]:
    """Two posed views with their matched points, and near and far of each, [2, 2], scene units.

    Raises RunError when the two cameras are at one position.
    """
    points = matched_points(views.images, views.cameras)
    return replace(views, points=points), range_of_points(points, views.cameras)


def matched_points(images: Tensor, cameras: Cameras) -> Tensor:
    """The points of the scene that two posed views show, triangulated from those matches that fit the cameras, [P, 3].

    images: [2, 3, h, w]. Raises RunError when the two cameras are at one position.
    """
    a, b = fitting_matches(images, cameras)
    points, z = triangulate(a, b, cameras.c2w.double().cpu(), cameras.K.double().cpu())
    return points[(z > 0).all(0)].to(cameras.c2w)


def fitting_matches(images: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor]:
    """The two points of each match of two posed views that fits their cameras, px, [M, 2] each, float64.

    images: [2, 3, h, w]. Raises RunError when the two cameras are at one position.
    """
    if _baseline(cameras) == 0:
        why = "both are at the same place, which shows no depth"
        raise RunError("the cameras have no baseline", why, "give two photographs taken from different places")
    matches = exact_matches(list(images), match(images[0], images[1]))
    a, b = matches.points_a.double(), matches.points_b.double()
    F = fundamental_of(cameras.c2w.double().cpu(), cameras.K.double().cpu())
    fits = sampson_error(a, b, F).abs() < INLIER * min(cameras.size) / SHORT_SIDE
    return a[fits], b[fits]


def range_of_points(points: Tensor, cameras: Cameras) -> Tensor:
    """Near and far of each of two posed views, [2, 2], scene units, from the depths of points [P, 3].

    They are quantiles of the depths, moved apart by the factors in NEAR and FAR. With fewer than 20 points, the range
    is 1 to 50 baselines.
    """
    if len(points) < LEAST_INLIERS:
        baseline = _baseline(cameras)
        return torch.tensor([[BASELINE_NEAR * baseline, BASELINE_FAR * baseline]]).repeat(2, 1).to(cameras.c2w)
    return depth_range(depth_of(points.to(cameras.c2w), cameras.c2w))


def _baseline(cameras: Cameras) -> float:
    return float((cameras.c2w[1, :3, 3] - cameras.c2w[0, :3, 3]).norm())


def depth_range(z: Tensor) -> Tensor:
    """Near and far of each view, [2, 2], from the depths of the points in it, [2, P]: see NEAR and FAR."""
    return torch.stack([z.quantile(NEAR[0], 1) * NEAR[1], z.quantile(FAR[0], 1) * FAR[1]], 1)


def _first_guess(sizes: list[tuple[int, int]], focals: Focals) -> Tensor:
    """K [2, 3, 3], px, with the focal lengths from EXIF, else those of a usual camera."""
    # One known focal length, relative to the image's size, is also the first guess of the other.
    ratios = [readings[0] / max(size) for readings, size in zip(focals, sizes, strict=True) if readings]
    K = []
    for readings, (h, w) in zip(focals, sizes, strict=True):
        f = readings[0] if readings else (ratios[0] if ratios else FOCAL_MEAN) * max(h, w)
        K.append(torch.tensor([[f, 0, w / 2], [0, f, h / 2], [0, 0, 1]], dtype=torch.float64))
    return torch.stack(K)


def _solve_unknown(a: Tensor, b: Tensor, noise: Tensor, known: Known) -> tuple[Solution, Tensor]:
    """The refined pose and the intrinsics under the assumption about the lenses that fits the matches best.

    a, b: [M, 2], working px.  noise: [M], of their positions, working px.
    """
    # Matches that fit some lens. Among them few trials suffice for each guess of the focal lengths.
    likely = fits_any_lens(a, b, 2 * INLIER)
    if int(likely.sum()) < LEAST_INLIERS:
        raise _too_few(len(a), int(likely.sum()))
    found = []
    for lenses in possible_lenses(known, magnification(a[likely], b[likely])):
        for start in lenses.starts:
            pose = ransac(a[likely], b[likely], scaled(known.K, start), INLIER, LIKELY_TRIALS)
            if pose is not None:
                refined = refine(a, b, known.K, pose.rotation, pose.translation, noise, lenses.prior, start)
                found.append((refined, lenses))
    if not found:
        raise _too_few(len(a), 0)
    refined, lenses = min(found, key=lambda pair: pair[0].cost + pair[1].penalty_of(pair[0].log_scales))
    rivals = [other for other, _ in found if other.cost <= refined.cost + RIVAL]
    contested = any(_differ(refined, other) for other in rivals)
    return _with_inliers(a, b, scaled(known.K, refined.log_scales), refined, lenses, contested)


def _differ(one: Refined, other: Refined) -> bool:
    """Whether two solutions differ by more than RIVAL_ANGLES. The sign of the translation is not compared."""
    rotation = ((one.rotation.mT @ other.rotation).trace() - 1) / 2
    cosines = torch.stack([rotation, (one.translation @ other.translation).abs()])
    angles = torch.rad2deg(torch.acos(cosines.clamp(-1, 1)))
    return bool((angles > angles.new_tensor(RIVAL_ANGLES)).any())


def _solve_with_known(a: Tensor, b: Tensor, noise: Tensor, K: Tensor) -> tuple[Solution, Tensor]:
    """The refined pose with known intrinsics, and these. Points and K are in working pixels."""
    pose = ransac(a, b, K, INLIER)
    if pose is None:
        raise _too_few(len(a), 0)
    refined = refine(a, b, K, pose.rotation, pose.translation, noise)
    return _with_inliers(a, b, K, refined, None, False)


def _with_inliers(
    a: Tensor, b: Tensor, K: Tensor, refined: Refined, lenses: Lenses | None, contested: bool
) -> tuple[Solution, Tensor]:
    """The solution with its inliers, which are near their epipolar lines and in front of both cameras; and K."""
    near = sampson_error(a, b, fundamental(refined.rotation, refined.translation, K)).abs() < INLIER
    # Sampson's error does not see the sign of the translation, so the refinement may have turned it round.
    solutions = []
    for translation in (refined.translation, -refined.translation):
        pose = RelativePose(refined.rotation, translation, near)
        inliers = near & (triangulate(a, b, pose.c2w, K)[1] > 0).all(0)
        solutions.append(Solution(refined.rotation, translation, inliers, refined, lenses, contested))
    best = max(solutions, key=lambda solution: int(solution.inliers.sum()))
    if int(best.inliers.sum()) < LEAST_INLIERS:
        raise _too_few(len(a), int(best.inliers.sum()))
    return best, K


def _finish(
    a: Tensor, b: Tensor, pose: Solution, K: Tensor, zoom: Tensor, matches: int, doubts: tuple[str, ...]
) -> PairGeometry:
    """The result from the inliers a, b, [P, 2], and K, both in working pixels."""
    points, z = triangulate(a, b, pose.c2w, K)
    # How well the cameras are determined: parallax and epipolar error.
    c2w = pose.c2w
    rays = [torch.nn.functional.normalize(points - centre, dim=1) for centre in c2w[:, :3, 3]]
    parallax = torch.rad2deg(torch.acos((rays[0] * rays[1]).sum(1).clamp(-1, 1)).median())
    error = sampson_error(a, b, fundamental(pose.rotation, pose.translation, K)).abs().median()
    # Divide lengths by the median depth.
    unit = float(z[0].median())
    c2w = c2w.clone()
    c2w[:, :3, 3] /= unit
    return PairGeometry(
        c2w.float(),
        (K / _zoom(zoom)).float(),
        depth_range(z / unit).float(),
        (points / unit).float(),
        matches,
        len(a),
        pose.lenses.source if pose.lenses else "given",
        float(parallax),
        float(error),
        doubts,
    )


def _zoom(zoom: Tensor) -> Tensor:
    """Factors of the entries of K, [2, 3, 3], when the two images are enlarged by `zoom` [2]."""
    factor = torch.ones(2, 3, 3, dtype=zoom.dtype)
    factor[:, :2] *= zoom[:, None, None]
    return factor


def _too_few(matches: int, inliers: int) -> RunError:
    why = f"there are {matches} matches, and {inliers} agree on one motion; {LEAST_INLIERS} are needed"
    hint = "take two photographs that share at least half of the scene, or give the cameras"
    return RunError("the two photographs do not overlap enough", why, hint)
