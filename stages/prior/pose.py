"""The cameras of two photographs, estimated from the photographs, and the depth range of the scene.

Matches (matching.py) give a relative pose by RANSAC, for each of several focal lengths or for a known one
(epipolar.py). Pose and focal length are refined together (refine.py). Matches are triangulated, and the depths of the
points give the range. "Working pixels" are pixels of an image resized to a short side of 512. Thresholds in them suit
photographs of any size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.errors import RunError
from stages.geometry import fundamental, fundamental_of
from stages.prior.epipolar import RelativePose, pure_rotation, ransac, sampson_error, triangulate
from stages.prior.matching import SHORT_SIDE, match
from stages.prior.refine import FocalPrior, Refined, refine, scaled
from stages.scene import Cameras

INLIER = 2.0  # largest epipolar distance of an inlier in RANSAC, working px
LOSS_SCALE = 1.0  # position noise of a good match, working px: the scale of the loss in the refinement
# Prior for an unknown focal length f, as a multiple of the image's longer side: log(f) is normal with mean log(0.65), a
# field of view of 75 degrees, and standard deviation 0.4. Phones and common zoom lenses are within it.
FOCAL_MEAN, FOCAL_DEVIATION = 0.65, 0.4
FIELDS_OF_VIEW = (35, 50, 65, 80, 95)  # first guesses of an unknown field of view across the longer side, degrees
LEAST_INLIERS = 20  # fewer inliers than this are no evidence for a pose
# A pair has parallax if, after the best pure rotation, a tenth of the matches is off by more than this, working px.
LEAST_PARALLAX = 3.0
# Near and far of the scene are a quantile of the triangulated depths times a factor, which leaves room for parts
# without matches.
NEAR, FAR = (0.02, 0.7), (0.98, 2.5)
# Near and far in baselines, for pairs with too few triangulated points.
BASELINE_NEAR, BASELINE_FAR = 1.0, 50.0


@dataclass(frozen=True, eq=False)
class PairGeometry:
    """Two cameras estimated from matches. The first camera is the world.

    c2w: [2, 4, 4].  K: [2, 3, 3], px of the input images.  near_far: [2, 2], z range of each view.  points: [P, 3].
    The unit of length is the median depth of the points in the first camera.
    matches, inliers: their numbers.
    focal_source: "given", "exif", or "matches": estimated from the matches and the prior FOCAL_MEAN, FOCAL_DEVIATION.
    parallax: median angle between the two rays of a point, degrees.
    error: median epipolar distance of the inliers, working px.
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
        }


def estimate_cameras(
    images: Sequence[Tensor], focals: tuple[float | None, float | None] = (None, None), K: Tensor | None = None
) -> PairGeometry:
    """Estimate the cameras of two overlapping photographs.

    images: two of [3, h, w] in [0, 1]; sizes may differ.  focals: focal lengths from EXIF, px of the image, or None.
    K: [2, 3, 3], px, if the intrinsics are known; `focals` is ignored then.  Without K the principal point is the
    centre. Raises RunError when the photographs share too few matches or were taken from one position, WeightsError
    when the matcher's weights are missing.
    """
    # Matches in working pixels.
    matches = match(images[0], images[1])
    sizes = [(image.shape[-2], image.shape[-1]) for image in images]
    zoom = torch.tensor([SHORT_SIDE / min(size) for size in sizes], dtype=torch.float64)
    a, b = matches.points_a.double() * zoom[0], matches.points_b.double() * zoom[1]
    # Pose and intrinsics.
    first_K, free, source = _intrinsics(sizes, focals, K)
    pose, working_K = _solve(a, b, first_K * _zoom(zoom), free, len(matches))
    _refuse_without_baseline(a[pose.inliers], b[pose.inliers], working_K, free, len(matches))
    return _finish(a[pose.inliers], b[pose.inliers], pose, working_K, zoom, len(matches), source)


def near_far_from_cameras(images: Sequence[Tensor], cameras: Cameras) -> Tensor:
    """Near and far of each of two posed views, [2, 2], scene units: quantiles of the depths of triangulated matches.

    images: two of [3, h, w].  With fewer than 20 matches that fit the cameras, the range is 1 to 50 baselines.
    Raises RunError when the two cameras are at one position.
    """
    c2w, K = cameras.c2w.double(), cameras.K.double()
    baseline = float((c2w[1, :3, 3] - c2w[0, :3, 3]).norm())
    if baseline == 0:
        why = "both are at the same place, which shows no depth"
        raise RunError("the cameras have no baseline", why, "give two photographs taken from different places")
    matches = match(images[0], images[1])
    a, b = matches.points_a.double(), matches.points_b.double()
    fits = sampson_error(a, b, fundamental_of(c2w, K)).abs() < INLIER * min(cameras.size) / SHORT_SIDE
    z = triangulate(a[fits], b[fits], c2w, K)[1]
    z = z[:, (z > 0).all(0)]
    if z.shape[1] < LEAST_INLIERS:
        return torch.tensor([[BASELINE_NEAR * baseline, BASELINE_FAR * baseline]]).repeat(2, 1).to(cameras.c2w)
    return depth_range(z).to(cameras.c2w)


def depth_range(z: Tensor) -> Tensor:
    """Near and far of each view, [2, 2], from the depths of the points in it, [2, P]."""
    return torch.stack([z.quantile(NEAR[0], 1) * NEAR[1], z.quantile(FAR[0], 1) * FAR[1]], 1)


def _intrinsics(
    sizes: list[tuple[int, int]], focals: tuple[float | None, float | None], K: Tensor | None
) -> tuple[Tensor, tuple[bool, bool], str]:
    """A first K [2, 3, 3], which of the two focal lengths are unknown, and the source of the known ones."""
    if K is not None:
        return K.double().expand(2, 3, 3), (False, False), "given"
    # One known focal length, relative to the image's size, is also the first guess of the other.
    ratios = [focal / max(size) for focal, size in zip(focals, sizes, strict=True) if focal is not None]
    first_K = []
    for focal, (h, w) in zip(focals, sizes, strict=True):
        f = focal if focal is not None else (ratios[0] if ratios else FOCAL_MEAN) * max(h, w)
        first_K.append(torch.tensor([[f, 0, w / 2], [0, f, h / 2], [0, 0, 1]], dtype=torch.float64))
    return torch.stack(first_K), (focals[0] is None, focals[1] is None), "exif" if ratios else "matches"


def _solve(a: Tensor, b: Tensor, K: Tensor, free: tuple[bool, bool], matches: int) -> tuple[RelativePose, Tensor]:
    """The refined pose and the intrinsics with the estimated focal lengths. Points and K are in working pixels."""
    # RANSAC and refinement for every first guess of the focal length. The lowest cost wins.
    best: Refined | None = None
    prior = FocalPrior(free, FOCAL_DEVIATION) if any(free) else None
    focals = [0.5 / math.tan(math.radians(angle) / 2) for angle in FIELDS_OF_VIEW]
    for log_scale in [math.log(focal / FOCAL_MEAN) for focal in focals] if prior else [0.0]:
        start = torch.stack([scaled(k, log_scale) if f else k for k, f in zip(K, free, strict=True)])
        pose = ransac(a, b, start, INLIER)
        if pose is None:
            continue
        candidate = refine(a, b, K, pose.rotation, pose.translation, LOSS_SCALE, prior, log_scale)
        if best is None or candidate.cost < best.cost:
            best = candidate
    if best is None:
        raise _too_few(matches, 0)
    # Inliers of the refined pose are near their epipolar lines and in front of both cameras.
    K = torch.stack([scaled(k, best.log_scale) if f else k for k, f in zip(K, free, strict=True)])
    inliers = sampson_error(a, b, fundamental(best.rotation, best.translation, K)).abs() < INLIER
    pose = RelativePose(best.rotation, best.translation, inliers)
    inliers &= (triangulate(a, b, pose.c2w, K)[1] > 0).all(0)
    if int(inliers.sum()) < LEAST_INLIERS:
        raise _too_few(matches, int(inliers.sum()))
    return pose, K


def _finish(
    a: Tensor, b: Tensor, pose: RelativePose, K: Tensor, zoom: Tensor, matches: int, source: str
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
        source,
        float(parallax),
        float(error),
    )


def _zoom(zoom: Tensor) -> Tensor:
    """Factors of the entries of K, [2, 3, 3], when the two images are enlarged by `zoom` [2]."""
    factor = torch.ones(2, 3, 3, dtype=zoom.dtype)
    factor[:, :2] *= zoom[:, None, None]
    return factor


def _refuse_without_baseline(a: Tensor, b: Tensor, K: Tensor, free: tuple[bool, bool], matches: int) -> None:
    """Raise RunError when a pure rotation explains the matches. An unknown focal length may have any value."""
    scales = torch.linspace(-0.6, 0.6, 13).tolist() if any(free) else [0.0]
    lenses = (torch.stack([scaled(k, scale) if f else k for k, f in zip(K, free, strict=True)]) for scale in scales)
    residual = min(float(pure_rotation(a, b, lens)[1].quantile(0.9)) for lens in lenses)
    if residual < LEAST_PARALLAX:
        why = f"there are {matches} matches, and turning the camera explains them to {residual:.1f} px"
        hint = "step sideways between the photographs, by a tenth of the distance to what you photograph"
        raise RunError("the two photographs were taken from one place", why, hint)


def _too_few(matches: int, inliers: int) -> RunError:
    why = f"there are {matches} matches, and {inliers} agree on one motion; {LEAST_INLIERS} are needed"
    hint = "take two photographs that share at least half of the scene, or give the cameras"
    return RunError("the two photographs do not overlap enough", why, hint)
