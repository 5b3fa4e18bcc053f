"""Geometry of two views from matches: robust relative pose, epipolar error, rotation alone, triangulation.

Everything here is float64 and takes points in pixels of the K it is given (Hartley and Zisserman, Multiple View Geometry, ch. 9-12).
Poses map camera a to camera b: x_b = R x_a + t, with |t| = 1 where only the direction is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stages.geometry import homogeneous

# RANSAC trials; the least is high because a wide pair may have a third of its matches right and a second, wrong model close behind.
TRIALS = (1000, 20000)


@dataclass(frozen=True)
class RelativePose:
    """rotation: [3, 3] and translation: [3], unit length, from camera a to camera b.  inliers: [M], bool, over the matches given."""

    rotation: Tensor
    translation: Tensor
    inliers: Tensor

    @property
    def c2w(self) -> Tensor:
        """Camera-to-world of both, [2, 4, 4]; the world is camera a."""
        b = torch.eye(4, dtype=self.rotation.dtype)
        b[:3, :3] = self.rotation.T
        b[:3, 3] = -self.rotation.T @ self.translation
        return torch.stack([torch.eye(4, dtype=b.dtype), b])


def ransac(points_a: Tensor, points_b: Tensor, K: Tensor, threshold: float) -> RelativePose | None:
    """Relative pose by LO-RANSAC on five points (pycolmap), always the same for the same matches.

    points_a, points_b: [M, 2], px.  K: [2, 3, 3].  threshold: px, epipolar distance of an inlier.  None where no pose is found.
    """
    import pycolmap

    if len(points_a) < 5:
        return None
    options = pycolmap.RANSACOptions(max_error=threshold, min_num_trials=TRIALS[0], max_num_trials=TRIALS[1], random_seed=0)
    a, b = (pycolmap.Camera(model="PINHOLE", width=1, height=1, params=[k[0, 0], k[1, 1], k[0, 2], k[1, 2]]) for k in K)
    found = pycolmap.estimate_relative_pose(a, points_a.numpy(), b, points_b.numpy(), options)
    if found is None:
        return None
    pose = torch.from_numpy(found["cam2_from_cam1"].matrix().copy())
    return RelativePose(pose[:, :3], pose[:, 3] / pose[:, 3].norm(), torch.from_numpy(found["inlier_mask"].copy()))


def sampson_error(points_a: Tensor, points_b: Tensor, F: Tensor) -> Tensor:
    """Signed Sampson distance of each match to x_b^T F x_a = 0, px, [M] (Hartley and Zisserman, eq. 11.9, its square root)."""
    a, b = homogeneous(points_a), homogeneous(points_b)
    line_b, line_a = a @ F.mT, b @ F
    gradient = line_b[:, :2].square().sum(1) + line_a[:, :2].square().sum(1)
    return (b * line_b).sum(1) / gradient.clamp_min(1e-18).sqrt()


def triangulate(points_a: Tensor, points_b: Tensor, c2w: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """World points [M, 3] by the linear method (Hartley and Zisserman, 12.2), and their z in both cameras [2, M].

    A point behind a camera has z <= 0 there; one at infinity has a very large z of either sign.
    """
    projections = K @ torch.linalg.inv(c2w)[:, :3]
    views = zip((points_a, points_b), projections, strict=True)
    system = torch.stack([pixels[:, k, None] * P[2] - P[k] for pixels, P in views for k in (0, 1)], 1)
    system = system / system.norm(dim=2, keepdim=True)
    homogeneous = torch.linalg.svd(system)[2][:, -1]
    w = homogeneous[:, 3]
    points = homogeneous[:, :3] / torch.where(w.abs() < 1e-12, 1e-12, w)[:, None]
    camera = torch.linalg.inv(c2w)
    z = torch.stack([points @ camera[k, 2, :3] + camera[k, 2, 3] for k in (0, 1)])
    return points, z


def turn(points_a: Tensor, points_b: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """The rotation that best maps the rays of a to those of b, robustly, and what it leaves unexplained.

    Kabsch's solution, reweighted towards the median residual. Returns rotation [3, 3] and the distance in b of each match, px, [M].
    """
    rays_a, rays_b = (_unit(homogeneous(p) @ torch.linalg.inv(k).mT) for p, k in zip((points_a, points_b), K, strict=True))
    weights = torch.ones_like(rays_a[:, :1])
    for _ in range(20):
        u, _, v = torch.linalg.svd((weights * rays_b).mT @ rays_a)
        rotation = u @ torch.diag(torch.stack([torch.ones_like(u[0, 0]), torch.ones_like(u[0, 0]), torch.det(u @ v)])) @ v
        error = (rays_a @ rotation.mT - rays_b).norm(dim=1, keepdim=True)
        weights = 1 / (error.square() + error.median().square() + 1e-12)
    turned = rays_a @ rotation.mT @ K[1].mT
    pixels = turned[:, :2] / turned[:, 2:].clamp_min(1e-6)
    return rotation, (pixels - points_b).norm(dim=1)


def _unit(rays: Tensor) -> Tensor:
    return rays / rays.norm(dim=1, keepdim=True)
