"""Refinement of a relative pose, and of the focal length where it is unknown, from matches.

Minimises the Sampson error under a Cauchy loss, plus a Gaussian prior on the logarithm of the focal length: two views often
say little about it (parallel axes, a plane, forward motion), and without the prior a wrong focal length buys a slightly better fit.
pycolmap's bundle adjustment has no such prior.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stages.geometry import cross_matrix, homogeneous, turned_by

ITERATIONS = 30


@dataclass(frozen=True)
class FocalPrior:
    """What is known of the focal lengths before any match: log(scale) is normal with mean 0 and this deviation.

    free: which of the two views has an unknown focal length; both, when free, move by one common factor.
    """

    free: tuple[bool, bool]
    deviation: float


@dataclass(frozen=True)
class Refined:
    """rotation [3, 3], translation [3] (unit), log_scale of the free focal lengths, cost (px^2)."""

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
    """Levenberg-Marquardt over rotation (3), translation direction (2) and, with a prior, the log of the focal scale (1).

    points_a, points_b: [M, 2], px, float64.  K: [2, 3, 3]; the free focal lengths are K's times exp(log_scale).
    loss_scale: px, where the Cauchy loss turns flat; the noise of a good match.
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
        weight = 1 / (1 + (error / loss_scale) ** 2)
        hessian, gradient = jacobian[:, :count].mT @ (weight[:, None] * jacobian[:, :count]), jacobian[:, :count].mT @ (weight * error)
        if prior:
            hessian[5, 5] += stiffness
            gradient[5] += stiffness * state[2]
        before = cost
        while damping < 1e6:
            step = torch.zeros(6, dtype=points_a.dtype)
            step[:count] = -torch.linalg.solve(hessian + damping * torch.diag(hessian.diagonal() + 1e-12), gradient)
            step[5] = step[5].clamp(-0.3, 0.3)
            moved = _moved(step, *state, tangent)
            moved_tangent = _tangent(moved[1])
            moved_error, moved_jacobian = _linearised(points_a, points_b, K, free, *moved, moved_tangent)
            moved_cost = cost_of(moved_error, moved[2])
            if moved_cost < cost:
                state, tangent, error, jacobian, cost = moved, moved_tangent, moved_error, moved_jacobian, moved_cost
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
    return K * torch.stack([torch.stack([factor, one, one]), torch.stack([one, factor, one]), torch.stack([one, one, one])])


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
    """Sampson errors [M] and their derivatives [M, 6] by the step of `_moved`."""
    inverse, slope = [], []
    for k, f in zip(K, free, strict=True):
        inverse.append(torch.linalg.inv(scaled(k, log_scale) if f else k))
        slope.append(-inverse[-1] * inverse[-1].new_tensor([[1, 1, 1], [1, 1, 1], [1, 1, 0]]) * f)
    cross = cross_matrix(translation)
    essential = cross @ rotation
    change = [inverse[1].mT @ cross @ cross_matrix(axis) @ rotation @ inverse[0] for axis in torch.eye(3, dtype=K.dtype)]
    change += [inverse[1].mT @ cross_matrix(axis) @ rotation @ inverse[0] for axis in tangent.mT]
    change += [slope[1].mT @ essential @ inverse[0] + inverse[1].mT @ essential @ slope[0]]
    F, dF = inverse[1].mT @ essential @ inverse[0], torch.stack(change)
    a, b = homogeneous(points_a), homogeneous(points_b)
    line_b, line_a = a @ F.mT, b @ F
    d_line_b, d_line_a = a @ dF.mT, b @ dF  # [6, M, 3]
    squared = (line_b[:, :2].square().sum(1) + line_a[:, :2].square().sum(1)).clamp_min(1e-18)
    error = (b * line_b).sum(1) / squared.sqrt()
    d_squared = (line_b * d_line_b)[..., :2].sum(2) + (line_a * d_line_a)[..., :2].sum(2)
    return error, ((b * d_line_b).sum(2) / squared.sqrt() - error * d_squared / squared).mT


def _moved(step: Tensor, rotation: Tensor, translation: Tensor, log_scale: Tensor, tangent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    rotation = turned_by(step[:3]) @ rotation
    translation = translation + tangent @ step[3:5]
    return rotation, translation / translation.norm(), log_scale + step[5]


def _tangent(direction: Tensor) -> Tensor:
    return torch.linalg.svd(direction[None])[2][1:].mT
