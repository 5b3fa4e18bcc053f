"""The image model, as plainly as possible: every pixel blends every Gaussian, in float64, with gradients by autograd.

It is slow and needs memory for every pair of a Gaussian and a pixel. Tests compare the fast versions with it.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from stages.geometry import covariances

# Limits of gsplat: a Gaussian is skipped if its alpha is below the first, alpha is clamped to the second, and a pixel
# is complete before the Gaussian that would bring its transmittance down to the third.
ALPHA_MIN, ALPHA_MAX, TRANSMITTANCE_MIN = 1.0 / 255.0, 0.999, 1e-4
BLUR = 0.3  # variance added to every projected Gaussian, px^2 (eps2d of gsplat)


class Rendering(NamedTuple):
    """The result for C cameras.

    image: [C, h, w, 4], red, green, blue and expected depth.  alpha: [C, h, w, 1].
    margin: [C, h, w], the smallest relative distance of an alpha from 1/255, or of a transmittance from 1e-4, at the
    pixel. Where it is tiny, float32 may rightly decide otherwise, and the pixel cannot be compared.
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
    """The same image as `dispatch.rasterization`, with the same arguments in any floating type."""
    tensors = (means, quats, scales, opacities, sh, viewmats, Ks)
    means, quats, scales, opacities, sh, viewmats, Ks = (tensor.double() for tensor in tensors)
    images, alphas, margins = [], [], []
    for view, K in zip(viewmats, Ks, strict=True):
        # Gaussians beyond the near plane, front to back.
        z = means @ view[2, :3] + view[2, 3]
        index = ((z >= near_plane) & (opacities >= ALPHA_MIN)).nonzero()[:, 0]
        index = index[torch.sort(z[index].detach().float(), stable=True).indices]

        # Their means, covariances and colours in the image, then the image.
        point = means[index] @ view[:3, :3].mT + view[:3, 3]
        sharp = image_covariance(point, covariances(quats[index], scales[index]), view, K, width, height)
        covariance = sharp + BLUR * torch.eye(2, dtype=sharp.dtype)
        mean2d = (point @ K.mT)[:, :2] / point[:, 2:]
        colour = torch.cat([shade(means[index], view, sh[index]), point[:, 2:]], 1)
        image, alpha, margin = composite(mean2d, covariance, opacities[index], colour, width, height)
        images.append(torch.cat([image[..., :3], image[..., 3:] / alpha.clamp_min(1e-10)], -1))
        alphas.append(alpha)
        margins.append(margin)
    return Rendering(torch.stack(images), torch.stack(alphas), torch.stack(margins))


def image_covariance(point: Tensor, covariance: Tensor, view: Tensor, K: Tensor, width: int, height: int) -> Tensor:
    """Covariances in the image, J R covariance R^T J^T, [N, 2, 2], px^2, with R the rotation of `view`.

    J is the Jacobian of the projection at the points, [N, 3] in camera axes. A point that lies farther outside the
    image than 0.15 of the image's size is first moved to that distance, as in gsplat.
    """
    x, y, z = point.unbind(-1)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    margin_x, margin_y = 0.3 * 0.5 * width / fx, 0.3 * 0.5 * height / fy
    x = z * torch.minimum(torch.maximum(x / z, -cx / fx - margin_x), (width - cx) / fx + margin_x)
    y = z * torch.minimum(torch.maximum(y / z, -cy / fy - margin_y), (height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    rows = ((fx / z, zero, -fx * x / z**2), (zero, fy / z, -fy * y / z**2))
    jacobian = torch.stack([torch.stack(row, -1) for row in rows], -2)
    to_image = jacobian @ view[:3, :3]
    return to_image @ covariance @ to_image.mT


def shade(means: Tensor, view: Tensor, coefficients: Tensor) -> Tensor:
    """Colours [N, 3] that a camera sees. coefficients: of harmonics, [N, K, 3].  view: world-to-camera, [4, 4]."""
    centre = torch.linalg.inv(view)[:3, 3]
    directions = torch.nn.functional.normalize(means - centre, dim=-1)
    basis = spherical_harmonics(math.isqrt(coefficients.shape[1]) - 1, directions)
    return (torch.einsum("nk,nkc->nc", basis, coefficients) + 0.5).clamp_min(0)


def spherical_harmonics(degree: int, directions: Tensor) -> Tensor:
    """Real spherical harmonics [N, (degree + 1)^2] of unit vectors [N, 3], from their definition.

    Y_lm = (-1)^m sqrt(2) N_lm P_l^|m|(z) {Re, Im}(x + iy)^|m|, where N_lm = sqrt((2l + 1) (l - m)! / (4 pi (l + m)!)),
    and P is the m-th derivative of the Legendre polynomial, by the upward recurrence in l. (-1)^m is the
    Condon-Shortley sign.
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
    """Blend Gaussians, sorted from front to back, into image [h, w, D], alpha [h, w, 1] and margin [h, w].

    mean2d: [N, 2], px.  covariance: [N, 2, 2], px^2.  opacity: [N].  colour: [N, D].
    """
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    offset = torch.stack([x, y], -1).reshape(1, -1, 2) - mean2d[:, None]  # [N, P, 2]
    sigma = 0.5 * torch.einsum("npi,nij,npj->np", offset, torch.linalg.inv(covariance), offset)
    alpha = (opacity[:, None] * torch.exp(-sigma)).clamp_max(ALPHA_MAX)
    visible = torch.where(alpha >= ALPHA_MIN, alpha, 0.0)
    # Transmittance after and before each Gaussian.
    after = torch.cumprod(1 - visible, 0)
    before = torch.cat([torch.ones_like(after[:1]), after[:-1]])
    is_open = after > TRANSMITTANCE_MIN  # `after` only falls, so a pixel that is complete stays complete
    weights = torch.where(is_open, visible * before, 0.0)
    image = torch.einsum("np,nd->pd", weights, colour)
    total = weights.sum(0)  # equals 1 - the last transmittance

    with torch.no_grad():
        at_transmittance = torch.where(visible > 0, (after / TRANSMITTANCE_MIN - 1).abs(), torch.inf)
        distance = torch.minimum((alpha / ALPHA_MIN - 1).abs(), at_transmittance)
        counts = before > TRANSMITTANCE_MIN
        margin = torch.where(counts, distance, torch.inf).amin(0) if len(alpha) else torch.full_like(total, torch.inf)
    return image.reshape(height, width, -1), total.reshape(height, width, 1), margin.reshape(height, width)
