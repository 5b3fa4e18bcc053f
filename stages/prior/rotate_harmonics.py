"""Real spherical harmonics in two bases: rotation by Wigner matrices, and the change to the basis of 3D Gaussian Splatting.

Upstream predicts coefficients in a basis whose polar axis is y (e3nn's): degree by degree the usual z-polar real harmonics at (z, x, y).
Its rasteriser evaluates them with the signs of 3DGS at the same permuted direction (SPEC 1.6, 3.9). Matrices are found by least squares
on fixed directions, which is exact: each side of the fit is a polynomial of the degree's own space.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Signs of the 3DGS basis relative to the plain one, m = -l ... l (Kerbl et al. 2023, as every splatting library has it).
SIGNS = ((1,), (-1, 1, -1), (1, -1, 1, -1, 1), (-1, 1, -1, 1, -1, 1, -1))
RASTERISED_DEGREE = 3  # the degree upstream's rasteriser stops at; the coefficients beyond have no meaning


def band(degree: int, directions: Tensor) -> Tensor:
    """Plain z-polar real harmonics of one degree up to a common factor, without Condon-Shortley signs, m = -l ... l.

    directions: [..., 3], unit.  Returns [..., 2 degree + 1].
    """
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    if degree == 0:
        terms = [torch.ones_like(x)]
    elif degree == 1:
        terms = [y, z, x]
    elif degree == 2:
        terms = [3**0.5 * x * y, 3**0.5 * y * z, 1.5 * zz - 0.5, 3**0.5 * x * z, 0.75**0.5 * (xx - yy)]
    elif degree == 3:
        a, b, c = 0.625**0.5, 15**0.5, 0.375**0.5
        terms = [a * y * (3 * xx - yy), b * x * y * z, c * y * (5 * zz - 1), 0.5 * z * (5 * zz - 3), c * x * (5 * zz - 1)]
        terms += [0.5 * b * z * (xx - yy), a * x * (xx - 3 * yy)]
    elif degree == 4:
        a, b, c, d = 0.5 * 35**0.5, 0.5 * 17.5**0.5, 0.5 * 5**0.5, 0.5 * 2.5**0.5
        terms = [a * x * y * (xx - yy), b * y * z * (3 * xx - yy), c * x * y * (7 * zz - 1), d * y * z * (7 * zz - 3)]
        terms += [0.125 * (35 * zz * zz - 30 * zz + 3), d * x * z * (7 * zz - 3), 0.5 * c * (xx - yy) * (7 * zz - 1)]
        terms += [b * x * z * (xx - 3 * yy), 0.25 * a * (xx * (xx - 3 * yy) - yy * (3 * xx - yy))]
    else:
        raise ValueError(f"spherical harmonics of degree {degree} are not written down here, only 0 to 4")
    return torch.stack(terms, -1)


def _directions(like: Tensor) -> Tensor:
    """Forty well-spread unit vectors (a Fibonacci sphere), [40, 3]."""
    index = torch.arange(40, dtype=like.dtype, device=like.device) + 0.5
    z = 1 - index / 20
    angle = index * torch.pi * (5**0.5 - 1)
    radius = (1 - z * z).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), z], -1)


def _permuted(directions: Tensor) -> Tensor:
    """(x, y, z) -> (z, x, y): the direction at which upstream evaluates the usual harmonics."""
    return directions[..., [2, 0, 1]]


def wigner(degree: int, rotation: Tensor) -> Tensor:
    """D with Y(R d) = D Y(d) in the y-polar basis. rotation: [..., 3, 3]. Returns [..., 2 degree + 1, 2 degree + 1]."""
    directions = _directions(rotation)
    plain = band(degree, _permuted(directions))
    turned = band(degree, _permuted(torch.einsum("...ij,nj->...ni", rotation, directions)))
    return (torch.linalg.pinv(plain) @ turned).mT


def rotate(harmonics: Tensor, rotation: Tensor) -> Tensor:
    """Coefficients in camera axes -> world axes, by degree (SPEC 3.9).

    harmonics: [..., P, K, 3].  rotation: [..., 3, 3], camera to world.
    """
    degree = int(harmonics.shape[-2] ** 0.5) - 1
    bands = [torch.einsum("...ij,...pjc->...pic", wigner(d, rotation), harmonics[..., d * d : (d + 1) ** 2, :]) for d in range(degree + 1)]
    return torch.cat(bands, -2)


def to_standard_basis(harmonics: Tensor) -> Tensor:
    """Upstream's coefficients -> those of 3DGS in world axes, up to degree 3 (beyond, upstream's rasteriser stops).

    harmonics: [..., K, 3].  Colours are the same for every direction, but for coefficient 14: upstream's forward pass evaluates it with
    a polynomial that is no harmonic of its degree (SPEC 1.6), here with the one that its backward pass, and so its training, has.
    """
    degree = min(int(harmonics.shape[-2] ** 0.5) - 1, RASTERISED_DEGREE)
    directions = _directions(harmonics)
    bands = []
    for d in range(degree + 1):
        signs = harmonics.new_tensor(SIGNS[d])
        upstream, standard = signs * band(d, _permuted(directions)), signs * band(d, directions)
        change = torch.linalg.pinv(standard) @ upstream  # standard @ change = upstream
        bands.append(torch.einsum("ij,...jc->...ic", change, harmonics[..., d * d : (d + 1) ** 2, :]))
    return torch.cat(bands, -2)
