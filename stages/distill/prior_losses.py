"""The losses of the prior: on depth, which is exact in procedural worlds, and on pictures rendered from its Gaussians.

In shapes, B counts scenes of a batch, V = 2 photographs, and D planes of the sweep. Depth is camera z in scene units.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.geometry import sampling_grid, unproject
from stages.prior.monocular import MonocularOutput

SEEN = 0.03  # a point is hidden in the other view if its depth exceeds the surface's by more than this share
FAR = 20.0  # largest depth that the monocular loss tells apart, as a multiple of a picture's median depth
GAP = 0.5  # a pixel whose alpha is above this shows a surface
EDGE_STRIDES = (1, 2, 4, 8)  # distances over which differences of depth are compared, px


def covisible(depth: Tensor, c2w: Tensor, K: Tensor, tolerance: float = SEEN) -> Tensor:
    """Which pixels of each of two views the other one sees, from exact depth, [B, 2, h, w] in {0, 1}.

    depth: [B, 2, h, w].  c2w: [B, 2, 4, 4].  K: [B, 3, 3], px.  tolerance: relative, see SEEN.
    """
    b, v, h, w = depth.shape
    points = unproject(depth, K[:, None].expand(b, v, 3, 3), c2w).flatten(2, 3)  # [B, 2, P, 3]
    other = c2w.flip(1)
    camera = (points - other[..., None, :3, 3]) @ other[..., :3, :3]
    z = camera[..., 2]
    pixels = camera @ K[:, None].mT
    grid = sampling_grid(pixels[..., :2] / z[..., None], (h, w))
    surface = F.grid_sample(
        depth.flip(1).flatten(0, 1)[:, None],
        grid.flatten(0, 1)[:, None],
        mode="nearest",
        padding_mode="border",
        align_corners=False,
    ).view(b, v, h * w)
    inside = (z > 0) & (grid.abs() < 1).all(-1)
    return (inside & (z < surface * (1 + tolerance))).float().view(b, v, h, w)


def inverse_depth_error(depth: Tensor, truth: Tensor, candidates: Tensor, nearer: int, weight: Tensor) -> Tensor:
    """Huber loss of inverse depth: a weighted mean, scalar. Its unit is the distance between planes of the sweep.

    depth, truth, weight: [B, V, h, w].  candidates: [B, V, D], inverse depths.
    nearer: how many of these lie nearer than the near depth. They have another spacing, which is not the unit.
    """
    d = candidates.shape[-1] - nearer
    plane = ((candidates[..., d - 1] - candidates[..., 0]) / (d - 1))[..., None, None]
    error = F.smooth_l1_loss(
        1 / depth.clamp_min(1e-6) / plane, _inside(truth, candidates) / plane, beta=1.0, reduction="none"
    )
    return (error * weight).sum() / weight.sum()


def plane_cross_entropy(logits: Tensor, truth: Tensor, candidates: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy of the sweep's distribution over planes: a weighted mean, scalar.

    The target is the true depth, shared between the two planes nearest to it.
    logits: [B, V, D, h, w].  truth, weight: [B, V, h, w].  candidates: [B, V, D], inverse depths, far first.
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
    """Negative log-likelihood of the true depth, with a Laplace distribution around the monocular one, plus edge loss.

    truth: [N, 1, h/4, w/4], depth. Depths of an image that exceed FAR times its median are set to that limit.
    The scale of each image is free, because the median of the logarithmic error is subtracted. Scalar.
    """
    median = truth.flatten(1).median(1).values[:, None, None, None]
    error = monocular.log_inverse + truth.clamp_min(1e-6).minimum(FAR * median).log()
    error = error - error.flatten(1).median(1).values[:, None, None, None].detach()
    return (error.abs() / monocular.spread + monocular.spread.log()).mean() + 2.0 * _edges(error)


def edge_error(depth: Tensor, truth: Tensor, candidates: Tensor) -> Tensor:
    """Error of differences of log depth over distances of 1 to 8 pixels (Ranftl et al. 2022, eq. 11), scalar.

    depth, truth: [B, V, h, w].  candidates: [B, V, D], inverse depths. The truth is clamped to their range.
    """
    return _edges((_inside(truth, candidates).log() + depth.clamp_min(1e-6).log()).flatten(0, 1)[:, None])


def _edges(error: Tensor) -> Tensor:
    """Mean absolute difference of neighbours in an error map [N, 1, h, w], averaged over EDGE_STRIDES, scalar."""
    total = error.new_zeros(())
    for stride in EDGE_STRIDES:
        coarse = error[..., ::stride, ::stride]
        total = total + coarse.diff(dim=-1).abs().mean() + coarse.diff(dim=-2).abs().mean()
    return total / len(EDGE_STRIDES)


def _inside(truth: Tensor, candidates: Tensor) -> Tensor:
    """Inverse of the true depth, clamped to the range of the sweep, [B, V, h, w]."""
    return (1 / truth.clamp_min(1e-9)).maximum(candidates[..., :1, None]).minimum(candidates[..., -1:, None])


def picture_error(picture: Tensor, truth: Tensor) -> Tensor:
    """L1 + 0.3 (1 - SSIM) with a 7 px box window, after Kerbl et al. 2023, eq. 7: scalar. Both are [N, 3, h, w]."""
    return (picture - truth).abs().mean() + 0.3 * (1 - _ssim(picture, truth))


def gap_error(alpha: Tensor) -> Tensor:
    """How transparent the surfaces are, a scalar.

    It is the sum of 1 - alpha over the pixels whose alpha is above GAP, divided by the number of all pixels.
    Holes of a render are filled from their surroundings, so the loss on pictures alone lets opacities fall.
    alpha: [N, h, w]. Pixels below GAP are places that no photograph shows; they count as 0.
    """
    return ((1 - alpha) * (alpha > GAP)).mean()


def _ssim(a: Tensor, b: Tensor) -> Tensor:
    window = a.new_full((a.shape[1], 1, 7, 7), 1 / 49)
    blur = lambda x: F.conv2d(x, window, groups=len(window))  # noqa: E731 -- half the time of avg_pool2d on a CPU
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b, cov = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2, blur(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + 0.01**2) * (2 * cov + 0.03**2)
    return (top / ((mean_a**2 + mean_b**2 + 0.01**2) * (var_a + var_b + 0.03**2))).mean()
