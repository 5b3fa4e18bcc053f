"""The losses of the prior: depth, which worlds know exactly, and the pictures that its Gaussians make.

B scenes of a batch, V = 2 photographs, D planes of the sweep. Depth is camera z in scene units.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.geometry import sampling_grid, unproject
from stages.prior.monocular import MonocularOutput

SEEN = 0.03  # relative tolerance of depth, up to which a point lies on the other view's surface
FAR = 20.0  # times the median depth of a picture; what is beyond is as good as infinitely far
EDGE_STRIDES = (1, 2, 4, 8)  # in pixels, over which differences of depth are compared


def covisible(depth: Tensor, c2w: Tensor, K: Tensor, tolerance: float = SEEN) -> Tensor:
    """Which pixels of each of two views the other one sees, from exact depth.

    depth: [B, 2, h, w], camera z.  c2w: [B, 2, 4, 4].  K: [B, 3, 3], px.  tolerance: of depth, relative.  Returns [B, 2, h, w] in {0, 1}.
    """
    b, v, h, w = depth.shape
    points = unproject(depth, K[:, None].expand(b, v, 3, 3), c2w).flatten(2, 3)  # [B, 2, P, 3]
    other = c2w.flip(1)
    camera = (points - other[..., None, :3, 3]) @ other[..., :3, :3]
    z = camera[..., 2]
    pixels = camera @ K[:, None].mT
    grid = sampling_grid(pixels[..., :2] / z[..., None], (h, w))
    there = F.grid_sample(
        depth.flip(1).flatten(0, 1)[:, None], grid.flatten(0, 1)[:, None], mode="nearest", padding_mode="border", align_corners=False
    ).view(b, v, h * w)
    inside = (z > 0) & (grid.abs() < 1).all(-1)
    return (inside & (z < there * (1 + tolerance))).float().view(b, v, h, w)


def inverse_depth_error(depth: Tensor, truth: Tensor, candidates: Tensor, nearer: int, weight: Tensor) -> Tensor:
    """Huber loss of inverse depth in units of one plane of the sweep, so that all scenes and ranges weigh the same.

    depth, truth, weight: [B, V, h, w].  candidates: [B, V, D], inverse depths, of which the last `nearer` are beyond near.
    Scalar, a weighted mean.
    """
    d = candidates.shape[-1] - nearer
    plane = ((candidates[..., d - 1] - candidates[..., 0]) / (d - 1))[..., None, None]
    error = F.smooth_l1_loss(1 / depth.clamp_min(1e-6) / plane, _inside(truth, candidates) / plane, beta=1.0, reduction="none")
    return (error * weight).sum() / weight.sum()


def plane_cross_entropy(logits: Tensor, truth: Tensor, candidates: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy of the sweep's distribution over planes against the true depth, shared between its two nearest planes.

    logits: [B, V, D, h, w].  truth, weight: [B, V, h, w].  candidates: [B, V, D], inverse depths, far first.  Scalar, a weighted mean.
    """
    inverse = _inside(truth, candidates)
    low = torch.searchsorted(candidates.contiguous(), inverse.flatten(2).contiguous(), right=True) - 1
    low = low.clamp(0, candidates.shape[-1] - 2)
    below, above = candidates.gather(2, low).view_as(truth), candidates.gather(2, low + 1).view_as(truth)
    share = ((inverse - below) / (above - below)).clamp(0, 1)
    log_p = F.log_softmax(logits, 2)
    index = low.view_as(truth)[:, :, None]
    at_low, at_high = log_p.gather(2, index)[:, :, 0], log_p.gather(2, index + 1)[:, :, 0]
    return -(torch.lerp(at_low, at_high, share) * weight).sum() / weight.sum()


def monocular_error(monocular: MonocularOutput, truth: Tensor) -> Tensor:
    """How badly one photograph alone tells inverse depth up to scale: the negative log-likelihood of a Laplace distribution.

    truth: [N, 1, h/4, w/4], depth.  The scale of each image is free: the median of the logarithmic error is taken off, and what lies
    beyond FAR times the median depth, as the sky, counts as being there. Scalar.
    """
    median = truth.flatten(1).median(1).values[:, None, None, None]
    error = monocular.log_inverse + truth.clamp_min(1e-6).minimum(FAR * median).log()
    error = error - error.flatten(1).median(1).values[:, None, None, None].detach()
    return (error.abs() / monocular.spread + monocular.spread.log()).mean() + 2.0 * _edges(error)


def edge_error(depth: Tensor, truth: Tensor, candidates: Tensor) -> Tensor:
    """How badly steps of the logarithm of depth are met, on scales of 1 to 8 pixels (Ranftl et al. 2022, eq. 11). Scalar.

    depth, truth: [B, V, h, w].  candidates: [B, V, D], inverse depths, to whose range the truth is clamped.
    """
    return _edges((_inside(truth, candidates).log() + depth.clamp_min(1e-6).log()).flatten(0, 1)[:, None])


def _edges(error: Tensor) -> Tensor:
    """Mean absolute differences of neighbours of an error map [N, 1, h, w], summed over scales."""
    total = error.new_zeros(())
    for stride in EDGE_STRIDES:
        coarse = error[..., ::stride, ::stride]
        total = total + coarse.diff(dim=-1).abs().mean() + coarse.diff(dim=-2).abs().mean()
    return total / len(EDGE_STRIDES)


def _inside(truth: Tensor, candidates: Tensor) -> Tensor:
    """Inverse of the true depth, clamped to the range of the sweep. [B, V, h, w]."""
    return (1 / truth.clamp_min(1e-9)).maximum(candidates[..., :1, None]).minimum(candidates[..., -1:, None])


def picture_error(picture: Tensor, truth: Tensor) -> Tensor:
    """L1 + 0.3 (1 - SSIM) (Kerbl et al. 2023, eq. 7, with a 7 px box window). picture, truth: [N, 3, h, w]. Scalar."""
    return (picture - truth).abs().mean() + 0.3 * (1 - _ssim(picture, truth))


def _ssim(a: Tensor, b: Tensor) -> Tensor:
    window = a.new_full((a.shape[1], 1, 7, 7), 1 / 49)
    blur = lambda x: F.conv2d(x, window, groups=len(window))  # noqa: E731 -- half the time of avg_pool2d on a CPU
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b, cov = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2, blur(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + 0.01**2) * (2 * cov + 0.03**2)
    return (top / ((mean_a**2 + mean_b**2 + 0.01**2) * (var_a + var_b + 0.03**2))).mean()
