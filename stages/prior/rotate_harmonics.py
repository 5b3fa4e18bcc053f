"""Rotation of spherical harmonics, and their change from MVSplat's basis to that of 3D Gaussian Splatting.

MVSplat ("upstream" here) predicts coefficients in the basis of e3nn (src/misc/sh_rotation.py). Its functions are the
usual real harmonics, taken at the permuted direction (z, x, y), so their polar axis is y instead of z. Its rasteriser
permutes the direction too, and gives the functions the signs of 3DGS (diff-gaussian-rasterization-modified,
cuda_rasterizer/forward.cu, `computeColorFromSH`).

Matrices come from a least-squares fit at fixed directions. The fit is exact, because the functions of one degree on
both sides span the same space.
"""

import torch
from torch import Tensor

# Signs of the 3DGS basis relative to `band`, for each degree l and m = -l ... l (Kerbl et al. 2023, utils/sh_utils.py).
SIGNS = ((1,), (-1, 1, -1), (1, -1, 1, -1, 1), (-1, 1, -1, 1, -1, 1, -1))
RASTERISED_DEGREE = 3  # largest degree that upstream's rasteriser evaluates; higher coefficients have no effect


def band(degree: int, directions: Tensor) -> Tensor:
    """Real harmonics of one degree with polar axis z, up to a common factor, without Condon-Shortley signs.

    directions: [..., 3], unit length.  Returns [..., 2 degree + 1], the orders m from -degree to degree.
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
        terms = [a * y * (3 * xx - yy), b * x * y * z, c * y * (5 * zz - 1), 0.5 * z * (5 * zz - 3)]
        terms += [c * x * (5 * zz - 1), 0.5 * b * z * (xx - yy), a * x * (xx - 3 * yy)]
    elif degree == 4:
        a, b, c, d = 0.5 * 35**0.5, 0.5 * 17.5**0.5, 0.5 * 5**0.5, 0.5 * 2.5**0.5
        terms = [a * x * y * (xx - yy), b * y * z * (3 * xx - yy), c * x * y * (7 * zz - 1), d * y * z * (7 * zz - 3)]
        terms += [0.125 * (35 * zz * zz - 30 * zz + 3), d * x * z * (7 * zz - 3), 0.5 * c * (xx - yy) * (7 * zz - 1)]
        terms += [b * x * z * (xx - 3 * yy), 0.25 * a * (xx * (xx - 3 * yy) - yy * (3 * xx - yy))]
    else:
        raise ValueError(f"spherical harmonics of degree {degree} are not implemented, only 0 to 4")
    return torch.stack(terms, -1)


def _directions(like: Tensor) -> Tensor:
    """Forty evenly spread unit vectors (a Fibonacci sphere), [40, 3]."""
    index = torch.arange(40, dtype=like.dtype, device=like.device) + 0.5
    z = 1 - index / 20
    angle = index * torch.pi * (5**0.5 - 1)
    radius = (1 - z * z).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), z], -1)


def _permuted(directions: Tensor) -> Tensor:
    """(x, y, z) -> (z, x, y), the direction at which upstream evaluates the usual harmonics."""
    return directions[..., [2, 0, 1]]


def wigner(degree: int, rotation: Tensor) -> Tensor:
    """The Wigner matrix D with Y(R d) = D Y(d) in upstream's basis Y.

    rotation: R, [..., 3, 3].  Returns [..., 2 degree + 1, 2 degree + 1].
    """
    directions = _directions(rotation)
    before = band(degree, _permuted(directions))
    after = band(degree, _permuted(torch.einsum("...ij,nj->...ni", rotation, directions)))
    return (torch.linalg.pinv(before) @ after).mT


def rotate(harmonics: Tensor, rotation: Tensor) -> Tensor:
    """Rotate coefficients from camera axes to world axes, degree by degree (upstream: src/misc/sh_rotation.py).

    harmonics: [..., P, K, 3].  rotation: [..., 3, 3], camera to world.  Returns [..., P, K, 3].
    """
    bands = []
    for d in range(int(harmonics.shape[-2] ** 0.5)):
        coefficients = harmonics[..., d * d : (d + 1) ** 2, :]
        bands.append(torch.einsum("...ij,...pjc->...pic", wigner(d, rotation), coefficients))
    return torch.cat(bands, -2)


def to_standard_basis(harmonics: Tensor) -> Tensor:
    """Convert coefficients in world axes from upstream's basis to that of 3DGS, up to degree 3.

    harmonics: [..., K, 3].  Colours stay the same in every direction, except for the part of coefficient 14. Upstream's
    forward pass evaluates it as z (zz - xx), which is no harmonic; here it is y (zz - xx), as in upstream's backward
    pass, and so in its training.
    """
    degree = min(int(harmonics.shape[-2] ** 0.5) - 1, RASTERISED_DEGREE)
    directions = _directions(harmonics)
    bands = []
    for d in range(degree + 1):
        signs = harmonics.new_tensor(SIGNS[d])
        upstream, standard = signs * band(d, _permuted(directions)), signs * band(d, directions)
        change = torch.linalg.pinv(standard) @ upstream  # solves standard @ change = upstream
        bands.append(torch.einsum("ij,...jc->...ic", change, harmonics[..., d * d : (d + 1) ** 2, :]))
    return torch.cat(bands, -2)
