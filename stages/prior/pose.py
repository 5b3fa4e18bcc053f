"""Cameras of two photographs that come without any: relative pose, focal lengths, and how near and far the scene is.

Matches (matching.py) -> a pose by RANSAC for each of several focal lengths, or for the known one (epipolar.py) -> joint refinement
(refine.py) -> triangulated points -> near and far.  All geometry happens in working pixels, in which the short side of an image is 512,
so that thresholds mean the same for any size of photograph.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.errors import RunError
from stages.geometry import fundamental, fundamental_of
from stages.prior.epipolar import RelativePose, ransac, sampson_error, triangulate, turn
from stages.prior.matching import SHORT_SIDE, match
from stages.prior.refine import FocalPrior, Refined, refine, scaled
from stages.scene import Cameras

INLIER, LOSS_SCALE = 2.0, 1.0  # working px: epipolar distance of an inlier in RANSAC, and noise of a good match
# Focal length over the long side of the image: log-normal around 0.65 (75 degrees across), +-40 %: phones and zooms lie inside.
FOCAL_MEAN, FOCAL_DEVIATION = 0.65, 0.4
FIELDS_OF_VIEW = (35, 50, 65, 80, 95)  # degrees across the long side, tried in turn
LEAST_INLIERS = 20
LEAST_PARALLAX = 3.0  # working px: what a turn alone leaves unexplained for the matches that move most (their 90 % quantile)
# Depth range of the scene: robust quantiles of the triangulated depths, with a margin for what has no matches.
NEAR, FAR = (0.02, 0.7), (0.98, 2.5)
# Without enough triangulated points the range is told from the baseline alone: pairs worth matching are near..far baselines away.
BASELINE_NEAR, BASELINE_FAR = 1.0, 50.0


@dataclass(frozen=True)
class PairGeometry:
    """Two cameras found from matches; the world is the first camera, and its unit the median depth of the points.

    c2w: [2, 4, 4].  K: [2, 3, 3], px of the images as given.  near_far: [2, 2], z range of each view.  points: [P, 3].
    focal_source: "given", "exif", or "matches": what fits them best, drawn towards a focal length of 0.65 of the longer side where they do
    not say (FOCAL_MEAN, FOCAL_DEVIATION).  parallax: median angle between the two rays of a point, degrees.
    error: median epipolar distance of the inliers, px at a short side of 512.
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
        """What the manifest records."""
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
    """Cameras of two overlapping photographs.

    images: two of [3, h, w] in [0, 1], sizes may differ.  focals: from EXIF, px of the image, or None.
    K: [2, 3, 3] when the intrinsics are known; they win over focals.  Without K the principal point is the image's centre.
    Raises RunError when the photographs share too few matches or were taken from one place; WeightsError without the matcher.
    """
    matches = match(images[0], images[1])
    sizes = [(image.shape[-2], image.shape[-1]) for image in images]
    zoom = torch.tensor([SHORT_SIDE / min(size) for size in sizes], dtype=torch.float64)
    a, b = matches.points_a.double() * zoom[0], matches.points_b.double() * zoom[1]
    guess, free, source = _intrinsics(sizes, focals, K)
    working = guess * _zoom(zoom)
    pose, working = _solve(a, b, working, free, len(matches))
    _refuse_without_baseline(a[pose.inliers], b[pose.inliers], working, free, len(matches))
    return _finish(a[pose.inliers], b[pose.inliers], pose, working, zoom, len(matches), source)


def near_far_from_cameras(images: Sequence[Tensor], cameras: Cameras) -> Tensor:
    """Depth range of each of two posed views, [2, 2], scene units: robust quantiles of the matches triangulated with these cameras.

    images: two of [3, h, w].  With fewer than 20 matches that fit the cameras the range is 1 to 50 baselines.
    Raises RunError when the two cameras are at one place.
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
    """Near and far of each view from the depths [2, P] of its points, [2, 2]."""
    return torch.stack([z.quantile(NEAR[0], 1) * NEAR[1], z.quantile(FAR[0], 1) * FAR[1]], 1)


def _intrinsics(
    sizes: list[tuple[int, int]], focals: tuple[float | None, float | None], K: Tensor | None
) -> tuple[Tensor, tuple[bool, bool], str]:
    """K [2, 3, 3] to start from, which focal lengths are unknown, and where the known ones come from."""
    if K is not None:
        return K.double().expand(2, 3, 3), (False, False), "given"
    known = [focal / max(size) for focal, size in zip(focals, sizes, strict=True) if focal is not None]
    guess = []
    for focal, (h, w) in zip(focals, sizes, strict=True):
        f = focal if focal is not None else (known[0] if known else FOCAL_MEAN) * max(h, w)
        guess.append(torch.tensor([[f, 0, w / 2], [0, f, h / 2], [0, 0, 1]], dtype=torch.float64))
    return torch.stack(guess), (focals[0] is None, focals[1] is None), "exif" if known else "matches"


def _solve(a: Tensor, b: Tensor, K: Tensor, free: tuple[bool, bool], matches: int) -> tuple[RelativePose, Tensor]:
    """The refined pose, and the intrinsics with their focal lengths found; working px."""
    best: Refined | None = None
    prior = FocalPrior(free, FOCAL_DEVIATION) if any(free) else None
    scales = [math.log(0.5 / math.tan(math.radians(fov) / 2) / FOCAL_MEAN) for fov in FIELDS_OF_VIEW] if prior else [0.0]
    for log_scale in scales:
        start = torch.stack([scaled(k, log_scale) if f else k for k, f in zip(K, free, strict=True)])
        pose = ransac(a, b, start, INLIER)
        if pose is None:
            continue
        found = refine(a, b, K, pose.rotation, pose.translation, LOSS_SCALE, prior, log_scale)
        if best is None or found.cost < best.cost:
            best = found
    if best is None:
        raise _too_few(matches, 0)
    K = torch.stack([scaled(k, best.log_scale) if f else k for k, f in zip(K, free, strict=True)])
    inliers = sampson_error(a, b, fundamental(best.rotation, best.translation, K)).abs() < INLIER
    pose = RelativePose(best.rotation, best.translation, inliers)
    inliers &= (triangulate(a, b, pose.c2w, K)[1] > 0).all(0)
    if int(inliers.sum()) < LEAST_INLIERS:
        raise _too_few(matches, int(inliers.sum()))
    return pose, K


def _finish(a: Tensor, b: Tensor, pose: RelativePose, K: Tensor, zoom: Tensor, matches: int, source: str) -> PairGeometry:
    points, z = triangulate(a, b, pose.c2w, K)
    unit = float(z[0].median())
    c2w = pose.c2w
    rays = [torch.nn.functional.normalize(points - centre, dim=1) for centre in c2w[:, :3, 3]]
    parallax = torch.rad2deg(torch.acos((rays[0] * rays[1]).sum(1).clamp(-1, 1)).median())
    error = sampson_error(a, b, fundamental(pose.rotation, pose.translation, K)).abs().median()
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
    """What turns K [2, 3, 3] of the images into K of the images enlarged by `zoom` [2], as a factor."""
    factor = torch.ones(2, 3, 3, dtype=zoom.dtype)
    factor[:, :2] *= zoom[:, None, None]
    return factor


def _refuse_without_baseline(a: Tensor, b: Tensor, K: Tensor, free: tuple[bool, bool], matches: int) -> None:
    """Raises RunError when turning the camera explains the matches, with any focal length where it is not known."""
    scales = torch.linspace(-0.6, 0.6, 13).tolist() if any(free) else [0.0]
    lenses = (torch.stack([scaled(k, scale) if f else k for k, f in zip(K, free, strict=True)]) for scale in scales)
    moved = min(float(turn(a, b, lens)[1].quantile(0.9)) for lens in lenses)
    if moved < LEAST_PARALLAX:
        raise RunError(
            "the two photographs were taken from one place",
            f"{matches} matches were found and turning the camera explains them to {moved:.1f} px",
            "step sideways between the photographs, by a tenth of the distance to what you photograph",
        )


def _too_few(matches: int, inliers: int) -> RunError:
    return RunError(
        "the two photographs do not overlap enough",
        f"{matches} matches were found and {inliers} agree on one motion; {LEAST_INLIERS} are needed",
        "take two photographs that share at least half of the scene, or give the cameras",
    )
