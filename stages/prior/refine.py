"""Refinement of a relative pose, and of an unknown focal length, from matches.

It minimises the Sampson error under a Cauchy loss, plus a Gaussian prior on the logarithm of the focal length. Two
views often say little about the focal length (parallel axes, a planar scene, forward motion). Without the prior, a
wrong focal length then fits slightly better than the true one. pycolmap's bundle adjustment has no such prior.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from stages.geometry import cross_matrix, homogeneous, turned_by

ITERATIONS = 30  # largest number of Levenberg-Marquardt steps


@dataclass(frozen=True)
class FocalPrior:
    """The prior of unknown focal lengths: the logarithm of their scale is normal with mean 0.

    deviation: its standard deviation.  free: which of the two views has an unknown focal length. If both have, they
    share one scale.
    """

    free: tuple[bool, bool]
    deviation: float


@dataclass(frozen=True)
class Refined:
    """rotation: [3, 3].  translation: [3], unit length.  log_scale: of the unknown focal lengths.  cost: px^2."""

    rotation: Tensor
    translation: Tensor
    log_scale: float
    cost: float


def refine(
    points_a: Tensor,
    points_b: Tensor,
    K: Tensor,
    rotation: Tensor,
    translation: Tensor,
    loss_scale: float,
    prior: FocalPrior | None = None,
    log_scale: float = 0.0,
) -> Refined:
    """Levenberg-Marquardt over rotation, direction of translation and, with a prior, the logarithm of the focal scale.

    points_a, points_b: [M, 2], px, float64.  K: [2, 3, 3], px; unknown focal lengths are those of K times
    exp(log_scale).
    rotation, translation, log_scale: where to start.
    loss_scale: noise of a good match, px; beyond it the Cauchy loss grows slowly.
    """
    free = prior.free if prior else (False, False)
    count = 6 if prior else 5
    state = (rotation.clone(), translation / translation.norm(), torch.tensor(log_scale, dtype=points_a.dtype))

    def cost_of(error: Tensor, log_scale: Tensor) -> Tensor:
        cost = loss_scale**2 / 2 * torch.log1p((error / loss_scale) ** 2).sum()
        return cost + stiffness / 2 * log_scale**2

    stiffness = loss_scale**2 / prior.deviation**2 if prior else 0.0
    damping, tangent = 1e-3, _tangent(state[1])
    error, jacobian = _linearised(points_a, points_b, K, free, *state, tangent)
    cost = cost_of(error, state[2])
    for _ in range(ITERATIONS):
        # Gradient and Gauss-Newton Hessian, with the weights of the Cauchy loss and the prior's part.
        weight, free_jacobian = 1 / (1 + (error / loss_scale) ** 2), jacobian[:, :count]
        hessian = free_jacobian.mT @ (weight[:, None] * free_jacobian)
        gradient = free_jacobian.mT @ (weight * error)
        if prior:
            hessian[5, 5] += stiffness
            gradient[5] += stiffness * state[2]
        # Increase the damping until the step lowers the cost.
        before = cost
        while damping < 1e6:
            step = torch.zeros(6, dtype=points_a.dtype)
            step[:count] = -torch.linalg.solve(hessian + damping * torch.diag(hessian.diagonal() + 1e-12), gradient)
            step[5] = step[5].clamp(-0.3, 0.3)
            new_state = _apply(step, *state, tangent)
            new_tangent = _tangent(new_state[1])
            new_error, new_jacobian = _linearised(points_a, points_b, K, free, *new_state, new_tangent)
            new_cost = cost_of(new_error, new_state[2])
            if new_cost < cost:
                state, tangent, error, jacobian, cost = new_state, new_tangent, new_error, new_jacobian, new_cost
                damping = max(damping / 10, 1e-9)
                break
            damping *= 10
        if before - cost <= 1e-8 * before:
            break
    return Refined(state[0], state[1], float(state[2]), float(cost))


def scaled(K: Tensor, log_scale: Tensor | float) -> Tensor:
    """K with its focal lengths times exp(log_scale). K: [3, 3]."""
    factor = torch.exp(torch.as_tensor(log_scale, dtype=K.dtype))
    one = torch.ones_like(factor)
    rows = ((factor, one, one), (one, factor, one), (one, one, one))
    return K * torch.stack([torch.stack(row) for row in rows])


def _linearised(
    points_a: Tensor,
    points_b: Tensor,
    K: Tensor,
    free: tuple[bool, bool],
    rotation: Tensor,
    translation: Tensor,
    log_scale: Tensor,
    tangent: Tensor,
) -> tuple[Tensor, Tensor]:
    """Sampson errors [M] and their derivatives [M, 6] by the six numbers of a step (`_apply`)."""
    # Inverse intrinsics, and their derivatives by log_scale.
    inverse, slope = [], []
    for k, f in zip(K, free, strict=True):
        inverse.append(torch.linalg.inv(scaled(k, log_scale) if f else k))
        slope.append(-inverse[-1] * inverse[-1].new_tensor([[1, 1, 1], [1, 1, 1], [1, 1, 0]]) * f)
    # The fundamental matrix, and its derivatives by rotation, translation and log_scale.
    cross = cross_matrix(translation)
    essential = cross @ rotation
    axes = torch.eye(3, dtype=K.dtype)
    change = [inverse[1].mT @ cross @ cross_matrix(axis) @ rotation @ inverse[0] for axis in axes]
    change += [inverse[1].mT @ cross_matrix(axis) @ rotation @ inverse[0] for axis in tangent.mT]
    change += [slope[1].mT @ essential @ inverse[0] + inverse[1].mT @ essential @ slope[0]]
    F, dF = inverse[1].mT @ essential @ inverse[0], torch.stack(change)
    # Sampson errors and their derivatives, by the quotient rule.
    a, b = homogeneous(points_a), homogeneous(points_b)
    line_b, line_a = a @ F.mT, b @ F
    d_line_b, d_line_a = a @ dF.mT, b @ dF  # [6, M, 3]
    squared = (line_b[:, :2].square().sum(1) + line_a[:, :2].square().sum(1)).clamp_min(1e-18)
    error = (b * line_b).sum(1) / squared.sqrt()
    d_squared = (line_b * d_line_b)[..., :2].sum(2) + (line_a * d_line_a)[..., :2].sum(2)
    return error, ((b * d_line_b).sum(2) / squared.sqrt() - error * d_squared / squared).mT


def _apply(
    step: Tensor, rotation: Tensor, translation: Tensor, log_scale: Tensor, tangent: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Add a step [6]: rotation vector (3), translation in its tangent plane (2), change of log_scale (1)."""
    rotation = turned_by(step[:3]) @ rotation
    translation = translation + tangent @ step[3:5]
    return rotation, translation / translation.norm(), log_scale + step[5]


def _tangent(direction: Tensor) -> Tensor:
    """Two unit vectors normal to a direction [3] and to each other, as columns, [3, 2]."""
    return torch.linalg.svd(direction[None])[2][1:].mT
