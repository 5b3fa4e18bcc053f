"""What the prior is trained on: inverse depth, exact in procedural worlds, and the pictures its Gaussians make."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.geometry import project, unproject


def covisible(depth: Tensor, c2w: Tensor, K: Tensor, tolerance: float = 0.03) -> Tensor:
    """Which pixels of each of two views the other one sees, from exact depth.

    depth: [B, 2, h, w], camera z.  c2w: [B, 2, 4, 4].  K: [B, 3, 3], px.  tolerance: of depth, relative.  Returns [B, 2, h, w] in {0, 1}.
    """
    h, w = depth.shape[-2:]
    masks = torch.zeros_like(depth)
    for b in range(len(depth)):
        for v in (0, 1):
            points = unproject(depth[b, v], K[b], c2w[b, v]).reshape(-1, 3)
            pixels, z = project(points, K[b], c2w[b, 1 - v])
            x, y = pixels.unbind(-1)
            inside = (z > 0) & (x >= 0) & (x < w) & (y >= 0) & (y < h)
            there = depth[b, 1 - v][y.clamp(0, h - 1).long(), x.clamp(0, w - 1).long()]
            masks[b, v] = (inside & (z < there * (1 + tolerance))).float().reshape(h, w)
    return masks


def inverse_depth_error(depth: Tensor, truth: Tensor, near_far: Tensor, candidates: int, weight: Tensor) -> Tensor:
    """Huber loss of inverse depth in units of one plane of the sweep, so that all scenes and ranges weigh the same.

    depth, truth, weight: [B, V, h, w], camera z.  near_far: [B, V, 2].  candidates: planes of the sweep.  Scalar, a weighted mean.
    """
    inverse_near, inverse_far = (1 / near_far).unbind(-1)
    plane = ((inverse_near - inverse_far) / (candidates - 1))[..., None, None]
    error = F.smooth_l1_loss(1 / depth.clamp_min(1e-6) / plane, _inside(truth, near_far) / plane, beta=1.0, reduction="none")
    return (error * weight).sum() / weight.sum()


def plane_cross_entropy(logits: Tensor, truth: Tensor, near_far: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy of the sweep's distribution over planes against the true depth, shared between its two nearest planes.

    logits: [B, V, D, h, w], planes uniform in inverse depth, far to near.  truth, weight: [B, V, h, w].  near_far: [B, V, 2].
    Scalar, a weighted mean.
    """
    inverse_near, inverse_far = (1 / near_far)[..., None, None].unbind(2)
    position = (_inside(truth, near_far) - inverse_far) / (inverse_near - inverse_far) * (logits.shape[2] - 1)
    low = position.floor().clamp_max(logits.shape[2] - 2)
    log_p = F.log_softmax(logits, 2)
    at_low = log_p.gather(2, low.long()[:, :, None])[:, :, 0]
    at_high = log_p.gather(2, low.long()[:, :, None] + 1)[:, :, 0]
    return -(torch.lerp(at_low, at_high, position - low) * weight).sum() / weight.sum()


def _inside(truth: Tensor, near_far: Tensor) -> Tensor:
    """Inverse of the true depth, clamped to the range of the sweep. [B, V, h, w]."""
    near, far = near_far[..., None, None].unbind(2)
    return 1 / truth.maximum(near).minimum(far)


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
