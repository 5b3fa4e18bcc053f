"""The functions of cpu.py in torch, for machines without a C++ compiler: the same results, about 40 times slower.

This is not the reference for tests; that is reference.py. The formulas are those of gsplat 1.5.3 (Apache-2.0), and
kernel.cpp states the image model.
"""

import math

import torch
from torch import Tensor

from stages.geometry import rotations
from stages.splat.fallback_composite import ALPHA_MIN, Size, composite
from stages.splat.harmonics import basis

__all__ = ["composite", "harmonics", "project"]

EXTENT_MAX = 3.33  # radius at which even an opaque Gaussian is below alpha 1/255, standard deviations
BLUR = 0.3  # variance added to every projected Gaussian, px^2 (eps2d of gsplat)
# A mean that lies farther outside the image than this share of half the image's size is moved nearer for the Jacobian.
MARGIN = 0.3


def project(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, views: Tensor, Ks: Tensor, size: Size, near: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See cpu.project."""
    cameras = zip(views, Ks, strict=True)
    rows = [_project_one(means, quats, scales, opacities, view, K, size, near) for view, K in cameras]
    radii, means2d, depths, factors = (torch.stack(column) for column in zip(*rows, strict=True))
    return radii, means2d, depths, factors


def _project_one(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, view: Tensor, K: Tensor, size: Size, near: float
) -> tuple[Tensor, ...]:
    rotation, limits = view[:3, :3], means.new_tensor(size)
    points = means @ rotation.mT + view[:3, 3]
    depths = points[:, 2]
    inputs = torch.cat([means, quats, scales], 1).detach()
    usable = (depths >= near) & inputs.isfinite().all(1) & (quats.detach() != 0).any(1)
    # Culled Gaussians are replaced before the division by z: a NaN has a NaN gradient even if it is masked later.
    points = torch.where(usable[:, None], points, points.new_tensor([0.0, 0.0, 1.0]))
    quats = torch.where(usable[:, None], quats, quats.new_tensor([1.0, 0.0, 0.0, 0.0]))
    scales = torch.where(usable[:, None], scales, torch.ones_like(scales))

    # Two rows of the Jacobian times the square root of the covariance.
    z = points[:, 2:]
    focal, centre = torch.diagonal(K)[:2], K[:2, 2]
    slopes = points[:, :2] / z
    margin = MARGIN * 0.5 * limits / focal
    clamped = torch.minimum(torch.maximum(slopes, -centre / focal - margin), (limits - centre) / focal + margin)
    root = rotation @ (rotations(quats) * scales[:, None, :])
    rows = (focal / z)[..., None] * (root[:, :2] - clamped[..., None] * root[:, 2:])  # J M, [N, 2, 3]
    a, b = rows.unbind(1)
    # The 2D covariance, blurred, and the factors of its inverse.
    aa, ab, bb = (a * a).sum(-1), (a * b).sum(-1), (b * b).sum(-1)
    sharp = torch.linalg.cross(a, b).square().sum(-1)  # = aa bb - ab^2, computed without cancellation
    det = sharp + BLUR * (aa + bb + BLUR)
    xx, yy = aa + BLUR, bb + BLUR
    usable = usable & (det > 0) & det.isfinite()
    det, yy = torch.where(usable, det, 1.0), torch.where(usable, yy, 1.0)
    factors = torch.stack([(yy / det).sqrt(), ab / yy, yy.rsqrt()], -1)
    factors = torch.where(usable[:, None], factors, 0.0)
    means2d = torch.where(usable[:, None], slopes * focal + centre, 0.0)

    with torch.no_grad():
        extent = (2 * torch.log(opacities.clamp_min(ALPHA_MIN) / ALPHA_MIN)).sqrt().clamp_max(EXTENT_MAX)
        radii = torch.ceil(extent[:, None] * torch.stack([xx, yy], -1).sqrt())
        on_screen = ((means2d + radii > 0) & (means2d - radii < limits)).all(-1)
        visible = usable & (opacities >= ALPHA_MIN) & on_screen
        radii = torch.where(visible[:, None], radii, 0.0).clamp_max(1e9).int()
    return radii, means2d, depths, factors


def harmonics(means: Tensor, centres: Tensor, coefficients: Tensor, radii: Tensor) -> Tensor:
    """See cpu.harmonics."""
    degree = math.isqrt(coefficients.shape[1]) - 1
    visible = (radii > 0).all(-1)
    colours = []
    for centre, mask in zip(centres, visible, strict=True):
        index = mask.nonzero()[:, 0]
        directions = torch.nn.functional.normalize(means[index] - centre, dim=-1)
        colour = torch.einsum("nk,nkc->nc", basis(degree, directions), coefficients[index])
        colours.append(means.new_zeros(len(means), 3).index_copy(0, index, (colour + 0.5).clamp_min(0)))
    return torch.stack(colours)
