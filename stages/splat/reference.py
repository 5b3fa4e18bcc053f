"""The image model written as plainly as possible: float64, every pixel looks at every Gaussian, autograd gives the gradients.

Slow and memory-hungry by intent (N x pixels numbers); it exists to check the fast versions against and to be read first.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from stages.geometry import covariances

ALPHA_MIN, ALPHA_MAX, TRANSMITTANCE_MIN = 1.0 / 255.0, 0.999, 1e-4
BLUR = 0.3  # variance added to every footprint, px^2 (eps2d of gsplat)


class Rendering(NamedTuple):
    """image [C, h, w, 4], red, green, blue and expected depth; alpha [C, h, w, 1]; margin [C, h, w].

    margin: relative distance of the pixel from its nearest decision (alpha = 1/255, T = 1e-4). Where it is tiny, float32 may rightly
    decide differently and a comparison means nothing.
    """

    image: Tensor
    alpha: Tensor
    margin: Tensor


def rasterization(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    sh: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    near_plane: float = 0.01,
) -> Rendering:
    """What `dispatch.rasterization` renders; arguments as there, of any floating type."""
    means, quats, scales, opacities, sh, viewmats, Ks = (t.double() for t in (means, quats, scales, opacities, sh, viewmats, Ks))
    images, alphas, margins = [], [], []
    for view, K in zip(viewmats, Ks, strict=True):
        z = means @ view[2, :3] + view[2, 3]
        kept = ((z >= near_plane) & (opacities >= ALPHA_MIN)).nonzero()[:, 0]
        kept = kept[torch.sort(z[kept].detach().float(), stable=True).indices]  # front to back

        point = means[kept] @ view[:3, :3].mT + view[:3, 3]
        sharp = image_covariance(point, covariances(quats[kept], scales[kept]), view, K, width, height)
        blurred = sharp + BLUR * torch.eye(2, dtype=sharp.dtype)
        mean2d = (point @ K.mT)[:, :2] / point[:, 2:]
        colour = torch.cat([shade(means[kept], view, sh[kept]), point[:, 2:]], 1)
        image, alpha, margin = composite(mean2d, blurred, opacities[kept], colour, width, height)
        images.append(torch.cat([image[..., :3], image[..., 3:] / alpha.clamp_min(1e-10)], -1))
        alphas.append(alpha)
        margins.append(margin)
    return Rendering(torch.stack(images), torch.stack(alphas), torch.stack(margins))


def image_covariance(point: Tensor, covariance: Tensor, view: Tensor, K: Tensor, width: int, height: int) -> Tensor:
    """J R_v covariance R_v^T J^T, [N, 2, 2] px^2: J is the Jacobian of the projection at the camera-space point [N, 3].

    Points far outside the image take the Jacobian at the image border widened by 0.15 of the image, as gsplat does.
    """
    x, y, z = point.unbind(-1)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    margin_x, margin_y = 0.3 * 0.5 * width / fx, 0.3 * 0.5 * height / fy
    x = z * torch.minimum(torch.maximum(x / z, -cx / fx - margin_x), (width - cx) / fx + margin_x)
    y = z * torch.minimum(torch.maximum(y / z, -cy / fy - margin_y), (height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack([torch.stack([fx / z, zero, -fx * x / z**2], -1), torch.stack([zero, fy / z, -fy * y / z**2], -1)], -2)
    to_image = jacobian @ view[:3, :3]
    return to_image @ covariance @ to_image.mT


def shade(means: Tensor, view: Tensor, coefficients: Tensor) -> Tensor:
    """Colours [N, 3] of spherical harmonics [N, K, 3] seen from the camera."""
    centre = torch.linalg.inv(view)[:3, 3]
    directions = torch.nn.functional.normalize(means - centre, dim=-1)
    basis = spherical_harmonics(math.isqrt(coefficients.shape[1]) - 1, directions)
    return (torch.einsum("nk,nkc->nc", basis, coefficients) + 0.5).clamp_min(0)


def spherical_harmonics(degree: int, directions: Tensor) -> Tensor:
    """Real spherical harmonics [N, (degree + 1)^2] of unit vectors [N, 3], from their definition.

    Y_lm = (-1)^m sqrt(2) N_lm P_l^|m|(z) {Re, Im}(x + iy)^|m| with the Condon-Shortley sign outside the Legendre function
    (here its m-th derivative form, by the upward recurrence in l), N_lm = sqrt((2l + 1) (l - m)! / (4 pi (l + m)!)).
    """
    x, y, z = directions.unbind(-1)
    out = [[torch.zeros_like(x)] * (2 * band + 1) for band in range(degree + 1)]
    cosine, sine = torch.ones_like(x), torch.zeros_like(x)
    for m in range(degree + 1):
        previous, legendre = torch.zeros_like(z), torch.full_like(z, math.prod(range(1, 2 * m, 2)))
        for band in range(m, degree + 1):
            if band > m:
                previous, legendre = legendre, ((2 * band - 1) * z * legendre - (band + m - 1) * previous) / (band - m)
            norm = math.sqrt((2 * band + 1) / (4 * math.pi) * math.factorial(band - m) / math.factorial(band + m))
            factor = norm * (math.sqrt(2) * (-1) ** m if m else 1.0)
            out[band][band + m] = factor * legendre * cosine
            if m:
                out[band][band - m] = factor * legendre * sine
        cosine, sine = x * cosine - y * sine, x * sine + y * cosine
    return torch.stack([function for band in out for function in band], -1)


def composite(
    mean2d: Tensor, covariance: Tensor, opacity: Tensor, colour: Tensor, width: int, height: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Blend Gaussians sorted front to back: image [h, w, D], alpha [h, w, 1], margin [h, w]."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    offset = torch.stack([x, y], -1).reshape(1, -1, 2) - mean2d[:, None]  # [N, P, 2]
    sigma = 0.5 * torch.einsum("npi,nij,npj->np", offset, torch.linalg.inv(covariance), offset)
    alpha = (opacity[:, None] * torch.exp(-sigma)).clamp_max(ALPHA_MAX)
    drawn = torch.where(alpha >= ALPHA_MIN, alpha, 0.0)
    after = torch.cumprod(1 - drawn, 0)
    before = torch.cat([torch.ones_like(after[:1]), after[:-1]])
    is_open = after > TRANSMITTANCE_MIN  # `after` falls with depth, so a pixel that closes stays closed
    weights = torch.where(is_open, drawn * before, 0.0)
    image = torch.einsum("np,nd->pd", weights, colour)
    total = weights.sum(0)  # = 1 - T_end: the sum of alpha T telescopes

    with torch.no_grad():
        reached = before > TRANSMITTANCE_MIN
        edges = torch.minimum((alpha / ALPHA_MIN - 1).abs(), torch.where(drawn > 0, (after / TRANSMITTANCE_MIN - 1).abs(), torch.inf))
        margin = torch.where(reached, edges, torch.inf).amin(0) if len(alpha) else torch.full_like(total, torch.inf)
    return image.reshape(height, width, -1), total.reshape(height, width, 1), margin.reshape(height, width)
