"""Geometry of two views from matches: relative pose, epipolar error, pure rotation, triangulation.

Source: Hartley and Zisserman, Multiple View Geometry, 2nd edition 2004 ("HZ"), chapters 9 to 12. All tensors are
float64. Matches are two tensors of points, [M, 2]; K is [2, 3, 3] in the same pixels, and c2w is [2, 4, 4]. A relative
pose maps camera a to camera b: x_b = R x_a + t. Matches tell the direction of t only, so |t| = 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from stages.geometry import homogeneous

if TYPE_CHECKING:
    import pycolmap

# Smallest and largest number of RANSAC trials among all matches. The smallest is high because in a pair with a wide
# baseline only a third of the matches may be right, and a wrong pose may fit nearly as many.
TRIALS = (1000, 20000)
HOMOGRAPHY_TRIALS = (1000, 5000)  # smallest and largest number of trials for a homography
LIKELY_TRIALS = (100, 1000)  # smallest and largest number of trials among matches that are mostly right


@dataclass(frozen=True, eq=False)
class RelativePose:
    """The pose of camera b relative to camera a.

    rotation: [3, 3].  translation: [3], unit length.  inliers: [M], boolean, the matches that fit the pose.
    """

    rotation: Tensor
    translation: Tensor
    inliers: Tensor

    @property
    def c2w(self) -> Tensor:
        """Camera-to-world matrices of both cameras, [2, 4, 4]. Camera a is the world."""
        b = torch.eye(4, dtype=self.rotation.dtype)
        b[:3, :3] = self.rotation.T
        b[:3, 3] = -self.rotation.T @ self.translation
        return torch.stack([torch.eye(4, dtype=b.dtype), b])


def ransac(
    points_a: Tensor, points_b: Tensor, K: Tensor, threshold: float, trials: tuple[int, int] = TRIALS
) -> RelativePose | None:
    """Relative pose by LO-RANSAC with the five-point method (pycolmap), or None if no pose fits. Deterministic.

    points_a, points_b: [M, 2], px.  K: [2, 3, 3], px.  threshold: largest epipolar distance of an inlier, px.
    trials: smallest and largest number of RANSAC trials.
    """
    import pycolmap

    if len(points_a) < 5:
        return None
    options = _options(threshold, trials)
    a, b = (pinhole(k) for k in K)
    result = pycolmap.estimate_relative_pose(a, points_a.numpy(), b, points_b.numpy(), options)
    if result is None:
        return None
    pose = torch.from_numpy(result["cam2_from_cam1"].matrix().copy())
    return RelativePose(pose[:, :3], pose[:, 3] / pose[:, 3].norm(), torch.from_numpy(result["inlier_mask"].copy()))


def pinhole(K: Tensor) -> pycolmap.Camera:
    """A camera of pycolmap with intrinsics K [3, 3], px. Poses do not depend on its image size, which is 1 x 1."""
    import pycolmap

    return pycolmap.Camera(model="PINHOLE", width=1, height=1, params=[K[0, 0], K[1, 1], K[0, 2], K[1, 2]])


def fits_any_lens(points_a: Tensor, points_b: Tensor, threshold: float) -> Tensor:
    """Which matches fit one fundamental matrix, whatever the focal lengths (LO-RANSAC, pycolmap), [M], boolean.

    threshold: largest epipolar distance, px.
    """
    import pycolmap

    nothing = torch.zeros(len(points_a), dtype=torch.bool)
    if len(points_a) < 7:
        return nothing
    result = pycolmap.estimate_fundamental_matrix(points_a.numpy(), points_b.numpy(), _options(threshold, TRIALS))
    if result is None:
        return nothing
    return torch.from_numpy(result["inlier_mask"].copy())


def sampson_error(points_a: Tensor, points_b: Tensor, F: Tensor) -> Tensor:
    """Signed Sampson distance of each match from x_b^T F x_a = 0, px, [M]. Its square is HZ eq. 11.9."""
    a, b = homogeneous(points_a), homogeneous(points_b)
    line_b, line_a = a @ F.mT, b @ F
    gradient = line_b[:, :2].square().sum(1) + line_a[:, :2].square().sum(1)
    return (b * line_b).sum(1) / gradient.clamp_min(1e-18).sqrt()


def triangulate(points_a: Tensor, points_b: Tensor, c2w: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """World points [M, 3] of matches by the linear method (HZ section 12.2), and their z in both cameras, [2, M].

    A point behind a camera has z <= 0 in it. A point at infinity has a very large z of either sign.
    """
    projections = K @ torch.linalg.inv(c2w)[:, :3]
    # Each view gives two rows of a homogeneous system. The solution is the last right singular vector.
    views = zip((points_a, points_b), projections, strict=True)
    system = torch.stack([pixels[:, k, None] * P[2] - P[k] for pixels, P in views for k in (0, 1)], 1)
    system = system / system.norm(dim=2, keepdim=True)
    homogeneous = torch.linalg.svd(system)[2][:, -1]
    w = homogeneous[:, 3]
    points = homogeneous[:, :3] / torch.where(w.abs() < 1e-12, 1e-12, w)[:, None]
    camera = torch.linalg.inv(c2w)
    z = torch.stack([points @ camera[k, 2, :3] + camera[k, 2, 3] for k in (0, 1)])
    return points, z


def pure_rotation(points_a: Tensor, points_b: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """The rotation [3, 3] that best maps the rays of a to those of b, and the error of each match in b, px, [M].

    Kabsch's solution is repeated with weights that fall with the residual, so that wrong matches count little.
    """
    views = zip((points_a, points_b), K, strict=True)
    rays_a, rays_b = (_unit(homogeneous(points) @ torch.linalg.inv(k).mT) for points, k in views)
    weights = torch.ones_like(rays_a[:, :1])
    for _ in range(20):  # enough to converge
        u, _, v = torch.linalg.svd((weights * rays_b).mT @ rays_a)
        one = torch.ones_like(u[0, 0])
        rotation = u @ torch.diag(torch.stack([one, one, torch.det(u @ v)])) @ v
        error = (rays_a @ rotation.mT - rays_b).norm(dim=1, keepdim=True)
        weights = 1 / (error.square() + error.median().square() + 1e-12)
    turned = rays_a @ rotation.mT @ K[1].mT
    pixels = turned[:, :2] / turned[:, 2:].clamp_min(1e-6)
    return rotation, (pixels - points_b).norm(dim=1)


def magnification(points_a: Tensor, points_b: Tensor) -> float:
    """How much larger image b shows things than image a: the median ratio of the distances between matches."""
    pairs = torch.randint(len(points_a), (2, 4000), generator=torch.Generator().manual_seed(0))
    in_a, in_b = ((points[pairs[0]] - points[pairs[1]]).norm(dim=1) for points in (points_a, points_b))
    known = (in_a > 0) & (in_b > 0)
    return float((in_b[known] / in_a[known]).median()) if bool(known.any()) else 1.0


def homography_error(points_a: Tensor, points_b: Tensor, threshold: float) -> Tensor:
    """How far each match is from the homography that explains most of them (HZ section 4.7), px, [M].

    threshold: largest distance of a match that it explains, px. Distances are in the image that shows things smaller,
    because a position in an enlarged image is not more exact. They are infinite if no homography fits.
    """
    import pycolmap

    if magnification(points_a, points_b) > 1:
        points_a, points_b = points_b, points_a
    options = _options(threshold, HOMOGRAPHY_TRIALS)
    result = pycolmap.estimate_homography_matrix(points_a.numpy(), points_b.numpy(), options)
    if result is None:
        return torch.full_like(points_a[:, 0], torch.inf)
    mapped = homogeneous(points_a) @ torch.from_numpy(result["H"].copy()).mT
    return (mapped[:, :2] / mapped[:, 2:] - points_b).norm(dim=1)


def _options(threshold: float, trials: tuple[int, int]) -> pycolmap.RANSACOptions:
    """Options of pycolmap's RANSAC. threshold: largest error of an inlier, px. trials: smallest, largest number."""
    import pycolmap

    least, most = trials
    return pycolmap.RANSACOptions(max_error=threshold, min_num_trials=least, max_num_trials=most, random_seed=0)


def _unit(rays: Tensor) -> Tensor:
    return rays / rays.norm(dim=1, keepdim=True)
