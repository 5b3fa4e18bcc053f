"""The classical baseline: depth by a plane sweep with normalised cross-correlation, drawn as one Gaussian a pixel.

No learning. Each photograph in turn is the reference; the other is warped onto planes of constant depth, and a pixel takes the plane
where the two agree best (Collins 1996; ZNCC as in any stereo text). What neither photograph explains shows their crossfade.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.evaluate.method_baselines import Method, crossfade
from stages.geometry import rays, unproject
from stages.scene import Cameras, Clip, Gaussians, Views, colours_to_sh
from stages.splat import draw, near_plane

PLANES = 96
ZNCC_WINDOW, COLOUR_WINDOW, WIDE_WINDOW = 7, 3, 9  # pixels
COLOUR_WEIGHT = 4.0  # of the mean absolute difference against (1 - ZNCC) / 2
UNSEEN_COST = 1.2  # of a plane that leaves the other photograph: worse than any match
SHARPNESS = 25.0  # of the softmin that places the depth between planes
NEIGHBOURS = 2  # planes to either side of the best that take part in it
SIGMA_PIXELS = 0.6  # standard deviation of a Gaussian, in pixels of its photograph


def plane_sweep(near_far: Callable[[Views], Tensor]) -> Method:
    """The baseline as a method. near_far: gives the depth range [2, 2] (near and far of each view, scene units) of two photographs."""

    def method(context: Views, cameras: Cameras, times: Tensor) -> Clip:
        gaussians = to_gaussians(context, near_far(context))
        drawing = draw(gaussians, cameras.to(gaussians.means), near=near_plane(gaussians.means, cameras))
        behind = crossfade(context, cameras, times).frames
        return Clip(drawing.image + (1 - drawing.alpha[:, None]) * behind, cameras, drawing.alpha, depth=drawing.depth)

    return method


def to_gaussians(context: Views, near_far: Tensor) -> Gaussians:
    """One Gaussian a pixel of both photographs, at the swept depth, the less opaque the worse its match."""
    parts = []
    for reference, other in ((0, 1), (1, 0)):
        depth, cost = sweep(context, reference, other, near_far[reference])
        K, c2w = context.cameras.K[reference].to(depth), context.cameras.c2w[reference].to(depth)
        means = unproject(depth, K, c2w).reshape(-1, 3)
        scales = (SIGMA_PIXELS * depth / K[0, 0]).reshape(-1, 1).expand(-1, 3)
        opacities = (1.05 - cost).clamp(0.15, 0.95).reshape(-1)
        sh = colours_to_sh(context.images[reference].reshape(3, -1).T)
        parts.append((means, scales, opacities, sh))
    means, scales, opacities, sh = (torch.cat(part) for part in zip(*parts, strict=True))
    quats = means.new_tensor([1.0, 0, 0, 0]).repeat(len(means), 1)
    return Gaussians(means, scales, quats, opacities, sh)


def sweep(context: Views, reference: int, other: int, near_far: Tensor) -> tuple[Tensor, Tensor]:
    """Depth of the reference photograph [h, w], scene units, and the matching cost there [h, w], about 0 (agrees) to 1.2 (unseen)."""
    near, far = near_far.tolist()
    disparities = torch.linspace(1 / far, 1 / near, PLANES)
    image = context.images[reference]
    mean = _mean(image, ZNCC_WINDOW)
    variance = (_mean(image**2, ZNCC_WINDOW) - mean**2).sum(0)
    cost = torch.stack([_cost(image, mean, variance, *_warp(context, reference, other, float(d))) for d in disparities])
    cost = (_mean(cost, WIDE_WINDOW) + _mean(cost, COLOUR_WINDOW)) / 2
    least, best = cost.min(0)
    planes = torch.arange(PLANES)[:, None, None]
    weight = torch.softmax(-SHARPNESS * cost, 0) * ((planes - best).abs() <= NEIGHBOURS)
    disparity = (weight * disparities[:, None, None]).sum(0) / weight.sum(0)
    return median5(1 / disparity), least


def _cost(image: Tensor, mean: Tensor, variance: Tensor, warped: Tensor, seen: Tensor) -> Tensor:
    """How badly `warped` [3, h, w] explains `image` [3, h, w], whose window mean and (summed) variance are given. [h, w]."""
    mean_w, mean_ww, mean_iw = _mean(torch.cat([warped, warped**2, image * warped]), ZNCC_WINDOW).split(3)
    variance_w = (mean_ww - mean_w**2).sum(0)
    covariance = (mean_iw - mean * mean_w).sum(0)
    zncc = covariance / (variance * variance_w).clamp_min(1e-8).sqrt()
    colour = _mean((image - warped).abs().mean(0, keepdim=True), COLOUR_WINDOW)[0]
    return torch.where(seen, (1 - zncc.clamp(-1, 1)) / 2 + COLOUR_WEIGHT * colour, UNSEEN_COST)


def _warp(context: Views, reference: int, other: int, disparity: float) -> tuple[Tensor, Tensor]:
    """The other photograph as the reference would see it on the plane [3, h, w], and where that falls inside it [h, w]."""
    cameras, image = context.cameras, context.images[other]
    h, w = cameras.size
    relative = (torch.linalg.inv(cameras.c2w[other].double()) @ cameras.c2w[reference].double()).to(image)
    points = rays(cameras.K[reference].to(image), cameras.size) / disparity @ relative[:3, :3].T + relative[:3, 3]
    pixels = points @ cameras.K[other].to(image).T
    z = pixels[..., 2]
    grid = pixels[..., :2] / z.clamp_min(1e-3)[..., None] / pixels.new_tensor([w, h]) * 2 - 1
    warped = F.grid_sample(image[None], grid[None], align_corners=False, padding_mode="zeros")[0]
    return warped, (grid.abs() < 1).all(-1) & (z > 1e-3)


def _mean(images: Tensor, window: int) -> Tensor:
    """Box mean with zero padding, as sums of shifted images: F.avg_pool2d's numbers, several times as fast. images: [N, h, w]."""
    h, w = images.shape[1:]
    padded = F.pad(images, (window // 2,) * 4)
    rows = functools.reduce(torch.Tensor.add_, (padded[:, i : i + h] for i in range(1, window)), padded[:, :h].clone()).div_(window)
    return functools.reduce(torch.Tensor.add_, (rows[:, :, i : i + w] for i in range(1, window)), rows[:, :, :w].clone()).div_(window)


def median5(image: Tensor) -> Tensor:
    """Median of each 5 x 5 neighbourhood, edges repeated. image: [h, w]."""
    padded = F.pad(image[None, None], (2, 2, 2, 2), mode="replicate")
    return F.unfold(padded, 5)[0].median(0).values.view(image.shape)
