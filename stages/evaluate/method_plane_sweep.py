"""The classical baseline: depth from a plane sweep with normalised cross-correlation, one Gaussian per pixel.

Nothing is learned. Each photograph in turn is the reference. The other one is warped onto planes of constant depth, and
a pixel takes the plane where both agree best (Collins 1996). Pixels that neither photograph explains show the
crossfade.
"""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.evaluate.method_baselines import Method, crossfade
from stages.geometry import rays, unproject
from stages.scene import Cameras, Clip, Gaussians, Views, colours_to_sh
from stages.splat import draw

PLANES = 96  # number of planes, evenly spaced in inverse depth
ZNCC_WINDOW, COLOUR_WINDOW, WIDE_WINDOW = 7, 3, 9  # sides of the averaging windows, in pixels
COLOUR_WEIGHT = 4.0  # weight of the mean absolute colour difference, relative to the term (1 - ZNCC) / 2
# Cost of a plane whose point lies outside the other photograph. Good matches cost much less, bad ones may cost more.
UNSEEN_COST = 1.2
SHARPNESS = 25.0  # factor in the softmin that interpolates depth between planes
NEIGHBOURS = 2  # number of planes on either side of the best one that the softmin includes
SIGMA_PIXELS = 0.6  # standard deviation of a Gaussian, in pixels of its photograph


def plane_sweep(near_far: Callable[[Views], Tensor]) -> Method:
    """The baseline as a method. near_far: gives near and far of each photograph, [2, 2], in scene units."""

    def method(context: Views, cameras: Cameras, times: Tensor) -> Clip:
        gaussians = to_gaussians(context, near_far(context))
        drawing = draw(gaussians, cameras.to(gaussians.means))
        behind = crossfade(context, cameras, times).frames
        return Clip(drawing.image + (1 - drawing.alpha[:, None]) * behind, cameras, drawing.alpha, depth=drawing.depth)

    return method


def to_gaussians(context: Views, near_far: Tensor) -> Gaussians:
    """One Gaussian per pixel of both photographs, at the swept depth. The worse the match, the lower the opacity."""
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
    """The depth of the reference photograph [h, w], in scene units, and its matching cost [h, w].

    The cost is about 0 where both photographs agree, and 1.2 where the other one does not see the point.
    """
    # The cost of every plane at every pixel, averaged over two windows.
    near, far = near_far.tolist()
    image = context.images[reference]
    disparities = torch.linspace(1 / far, 1 / near, PLANES, device=image.device)
    mean = _mean(image, ZNCC_WINDOW)
    variance = (_mean(image**2, ZNCC_WINDOW) - mean**2).sum(0)
    cost = torch.stack([_cost(image, mean, variance, *_warp(context, reference, other, float(d))) for d in disparities])
    cost = (_mean(cost, WIDE_WINDOW) + _mean(cost, COLOUR_WINDOW)) / 2
    # The depth of the cheapest plane, refined between planes by a softmin over its neighbours.
    lowest, best = cost.min(0)
    planes = torch.arange(PLANES, device=image.device)[:, None, None]
    weight = torch.softmax(-SHARPNESS * cost, 0) * ((planes - best).abs() <= NEIGHBOURS)
    disparity = (weight * disparities[:, None, None]).sum(0) / weight.sum(0)
    return median5(1 / disparity), lowest


def _cost(image: Tensor, mean: Tensor, variance: Tensor, warped: Tensor, inside: Tensor) -> Tensor:
    """The cost [h, w] of explaining `image` by `warped`, both [3, h, w].

    mean, variance: window mean and variance (summed over colours) of `image`.
    inside: where `warped` has a value, [h, w].
    """
    mean_w, mean_ww, mean_iw = _mean(torch.cat([warped, warped**2, image * warped]), ZNCC_WINDOW).split(3)
    variance_w = (mean_ww - mean_w**2).sum(0)
    covariance = (mean_iw - mean * mean_w).sum(0)
    zncc = covariance / (variance * variance_w).clamp_min(1e-8).sqrt()
    colour = _mean((image - warped).abs().mean(0, keepdim=True), COLOUR_WINDOW)[0]
    return torch.where(inside, (1 - zncc.clamp(-1, 1)) / 2 + COLOUR_WEIGHT * colour, UNSEEN_COST)


def _warp(context: Views, reference: int, other: int, disparity: float) -> tuple[Tensor, Tensor]:
    """The other photograph as the reference sees it on the plane [3, h, w], and where it has a value [h, w]."""
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
    """Box mean with zero padding. images: [N, h, w]. Sums of shifted images give F.avg_pool2d's values much faster."""
    h, w = images.shape[1:]
    padded = F.pad(images, (window // 2,) * 4)
    rows = functools.reduce(Tensor.add_, (padded[:, i : i + h] for i in range(1, window)), padded[:, :h].clone())
    rows = rows.div_(window)
    means = functools.reduce(Tensor.add_, (rows[:, :, i : i + w] for i in range(1, window)), rows[:, :, :w].clone())
    return means.div_(window)


def median5(image: Tensor) -> Tensor:
    """The median of each 5 x 5 neighbourhood, with the edges repeated. image: [h, w]."""
    padded = F.pad(image[None, None], (2, 2, 2, 2), mode="replicate")
    return F.unfold(padded, 5)[0].median(0).values.view(image.shape)
