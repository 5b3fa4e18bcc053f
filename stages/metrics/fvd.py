"""Frechet and kernel video distance between two sets of clips, on I3D logits (Unterthiner et al. 2018).

With few clips the Frechet distance is too large, because the covariance of 400 logits needs thousands of clips. So its
values compare only between sets of equal size. The kernel distance has no such bias. `PROTOCOL` holds all that the
values depend on.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.errors import InputError
from stages.metrics.i3d import I3D, SIDE

PROTOCOL = {
    "features": "I3D RGB Kinetics-400, 400 logits averaged over time",
    "resize": f"short side to {SIDE} px, bilinear, antialiased, then the central {SIDE} x {SIDE}",
    "fvd": "squared Frechet distance of Gaussian fits, sample covariance; compare at equal N only, small sets bias it",
    "kvd": "unbiased squared maximum mean discrepancy, kernel (x.y / 400 + 1)^3",
}


def clip_features(network: I3D, frames: Tensor) -> Tensor:
    """I3D logits of a clip. frames: [T, 3, h, w] in [0, 1], T >= 9.  Returns [400], float32."""
    h, w = frames.shape[-2:]
    scale = SIDE / min(h, w)
    size = (max(SIDE, round(h * scale)), max(SIDE, round(w * scale)))
    images = F.interpolate(frames.float(), size, mode="bilinear", antialias=True)
    top, left = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
    return network.logits(2 * images[:, :, top : top + SIDE, left : left + SIDE] - 1)


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Frechet distance |m_a - m_b|^2 + Tr(S_a + S_b - 2 (S_a S_b)^(1/2)) of Gaussian fits to two sets.

    a: [N, D].  b: [M, D].  Works in float64, also where N < D.  Raises InputError for fewer than two clips.
    """
    a, b = _checked(a, b)
    centred_a = (a - a.mean(0)) / (len(a) - 1) ** 0.5
    centred_b = (b - b.mean(0)) / (len(b) - 1) ** 0.5
    # Tr((S_a S_b)^(1/2)) is the sum of the singular values of A B^T for centred data A and B. This avoids the square
    # root of a singular covariance matrix.
    cross = torch.linalg.svdvals(centred_a @ centred_b.T).sum()
    means = (a.mean(0) - b.mean(0)).square().sum()
    return float(means + centred_a.square().sum() + centred_b.square().sum() - 2 * cross)


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy of two sets, with a cubic kernel. It may be below 0.

    a: [N, D].  b: [M, D].  Raises InputError for fewer than two clips.
    """
    a, b = _checked(a, b)

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def mean_of_pairs(x: Tensor) -> Tensor:  # without the pairs of a clip and itself
        values = kernel(x, x)
        return (values.sum() - values.trace()) / (len(x) * (len(x) - 1))

    return float(mean_of_pairs(a) + mean_of_pairs(b) - 2 * kernel(a, b).mean())


def _checked(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if min(len(a), len(b)) < 2:
        raise InputError("no distance of two sets", f"{len(a)} and {len(b)} clips", "give at least two clips per set")
    return a.double(), b.double()
