"""Refinement of a relative pose, and of uncertain focal lengths, from matches.

It minimises Sampson errors, in units of their noise, under a Cauchy loss, plus a penalty on unusual focal lengths. The
penalty comes from a normal distribution of the logarithms of the two focal lengths, here called the focal prior. Two
views often say little about the focal lengths (parallel axes, a planar scene, forward motion). Without the penalty, a
wrong focal length then fits slightly better than the true one. pycolmap's bundle adjustment has no such penalty.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from stages.geometry import cross_matrix, homogeneous, turned_by

ITERATIONS = 30  # largest number of Levenberg-Marquardt steps


@dataclass(frozen=True, eq=False)
class FocalPrior:
    """A normal distribution of the logarithms of the two focal lengths, each relative to that in K.

    mean: [2].  covariance: [2, 2].
    """

    mean: Tensor
    covariance: Tensor


@dataclass(frozen=True, eq=False)
class Refined:
    """A refined pose. rotation: [3, 3].  translation: [3], unit length.

    log_scales: [2], the logarithms of the factors on the focal lengths of K.
    cost: the negative log likelihood, up to a constant. It is the sum of log(1 + e^2) / 2 over the Sampson errors e, in
    units of their noise, plus the negative log density of the focal prior.
    hessian: [7, 7], the Gauss-Newton Hessian of the cost with respect to rotation vector (3), translation in its
    tangent plane (2) and log_scales (2); without a focal prior [5, 5].
    """

    rotation: Tensor
    translation: Tensor
    log_scales: Tensor
    cost: float
    hessian: Tensor


def refine(
    points_a: Tensor,
    points_b: Tensor,
    K: Tensor,
    rotation: Tensor,
    translation: Tensor,
    noise: Tensor,
    prior: FocalPrior | None = None,
    log_scales: Tensor | None = None,
) -> Refined:
    """Levenberg-Marquardt over rotation, direction of translation and, with a focal prior, `log_scales`.

    points_a, points_b: [M, 2], px, float64.  K: [2, 3, 3], px.  Focal lengths are those of K times exp(log_scales).
    rotation, translation, log_scales: where to start. log_scales starts at 0 if it is None.
    noise: [M], position noise of each match, px; for errors beyond it the Cauchy loss grows slowly.
    """
    count = 7 if prior else 5
    start = torch.zeros(2, dtype=points_a.dtype) if log_scales is None else log_scales
    state = (rotation.clone(), translation / translation.norm(), start)
    stiffness = torch.linalg.inv(prior.covariance) if prior else torch.zeros(2, 2, dtype=start.dtype)
    mean = prior.mean if prior else torch.zeros_like(start)

    def cost_of(error: Tensor, log_scales: Tensor) -> Tensor:
        return torch.log1p(error**2).sum() / 2 + (log_scales - mean) @ stiffness @ (log_scales - mean) / 2

    def linear(error: Tensor, jacobian: Tensor, log_scales: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient and Gauss-Newton Hessian, with the weights of the Cauchy loss and the part of the focal prior."""
        weight, free_jacobian = 1 / (1 + error**2), jacobian[:, :count]
        hessian = free_jacobian.mT @ (weight[:, None] * free_jacobian)
        gradient = free_jacobian.mT @ (weight * error)
        if prior:
            hessian[5:, 5:] += stiffness
            gradient[5:] += stiffness @ (log_scales - mean)
        return gradient, hessian

    def linearised(state: tuple[Tensor, Tensor, Tensor], tangent: Tensor) -> tuple[Tensor, Tensor]:
        """Errors in units of their noise, and their derivatives."""
        error, jacobian = _linearised(points_a, points_b, K, *state, tangent)
        return error / noise, jacobian / noise[:, None]

    damping, tangent = 1e-3, _tangent(state[1])
    error, jacobian = linearised(state, tangent)
    cost = cost_of(error, state[2])
    for _ in range(ITERATIONS):
        gradient, hessian = linear(error, jacobian, state[2])
        # Increase the damping until the step lowers the cost.
        before = cost
        while damping < 1e6:
            step = torch.zeros(7, dtype=points_a.dtype)
            step[:count] = -torch.linalg.solve(hessian + damping * torch.diag(hessian.diagonal() + 1e-12), gradient)
            step[5:] *= 0.3 / step[5:].abs().max().clamp_min(0.3)  # a step changes log_scales by at most 0.3
            new_state = _apply(step, *state, tangent)
            new_tangent = _tangent(new_state[1])
            new_error, new_jacobian = linearised(new_state, new_tangent)
            new_cost = cost_of(new_error, new_state[2])
            if new_cost < cost:
                state, tangent, error, jacobian, cost = new_state, new_tangent, new_error, new_jacobian, new_cost
                damping = max(damping / 10, 1e-9)
                break
            damping *= 10
        if before - cost <= 1e-8 * before:
            break
    return Refined(*state, float(cost), linear(error, jacobian, state[2])[1])


def scaled(K: Tensor, log_scales: Tensor) -> Tensor:
    """K [2, 3, 3] with its focal lengths times exp(log_scales) [2]."""
    factor = torch.ones_like(K)
    factor[:, 0, 0] = factor[:, 1, 1] = log_scales.exp()
    return K * factor


def _linearised(
    points_a: Tensor,
    points_b: Tensor,
    K: Tensor,
    rotation: Tensor,
    translation: Tensor,
    log_scales: Tensor,
    tangent: Tensor,
) -> tuple[Tensor, Tensor]:
    """Sampson errors [M] and their derivatives [M, 7] with respect to the seven numbers of a step (`_apply`)."""
    # Inverse intrinsics, and the derivative of each with respect to its log_scale.
    inverse = torch.linalg.inv(scaled(K, log_scales))
    slope = -inverse * inverse.new_tensor([[1, 1, 1], [1, 1, 1], [1, 1, 0]])
    # The fundamental matrix, and its derivatives with respect to rotation, translation and log_scales.
    cross = cross_matrix(translation)
    essential = cross @ rotation
    axes = torch.eye(3, dtype=K.dtype)
    change = [inverse[1].mT @ cross @ cross_matrix(axis) @ rotation @ inverse[0] for axis in axes]
    change += [inverse[1].mT @ cross_matrix(axis) @ rotation @ inverse[0] for axis in tangent.mT]
    change += [inverse[1].mT @ essential @ slope[0], slope[1].mT @ essential @ inverse[0]]
    F, dF = inverse[1].mT @ essential @ inverse[0], torch.stack(change)
    # Sampson errors and their derivatives, by the quotient rule.
    a, b = homogeneous(points_a), homogeneous(points_b)
    line_b, line_a = a @ F.mT, b @ F
    d_line_b, d_line_a = a @ dF.mT, b @ dF  # [7, M, 3]
    squared = (line_b[:, :2].square().sum(1) + line_a[:, :2].square().sum(1)).clamp_min(1e-18)
    error = (b * line_b).sum(1) / squared.sqrt()
    # Half the derivative of `squared`, because the derivative of its root has a factor of 1/2.
    d_squared = (line_b * d_line_b)[..., :2].sum(2) + (line_a * d_line_a)[..., :2].sum(2)
    return error, ((b * d_line_b).sum(2) / squared.sqrt() - error * d_squared / squared).mT


def _apply(
    step: Tensor, rotation: Tensor, translation: Tensor, log_scales: Tensor, tangent: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Add a step [7]: rotation vector (3), translation in its tangent plane (2), change of log_scales (2)."""
    rotation = turned_by(step[:3]) @ rotation
    translation = translation + tangent @ step[3:5]
    return rotation, translation / translation.norm(), log_scales + step[5:]


def _tangent(direction: Tensor) -> Tensor:
    """Two unit vectors normal to a direction [3] and to each other, as columns, [3, 2]."""
    return torch.linalg.svd(direction[None])[2][1:].mT
