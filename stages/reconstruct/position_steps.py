"""The units in which the optimiser moves the positions of Gaussians.

The prior is wrong mostly in depth, and two photographs taken close together say little about depth. With equal steps in
all directions depths hardly move, and views other than the photographs improve only a third as much. So each Gaussian
has three unit steps of its own. Two lead across the ray on which it was seen and are as long as its distance; 3DGS
takes the radius of the camera path instead. One leads along the ray and is long enough to shift the Gaussian by a pixel
in another photograph.

A Gaussian that moves away along its ray also grows with its distance, so that it looks the same in its photograph.
Otherwise the optimiser would change depths to sharpen that photograph.
"""

import torch
from torch import Tensor

from stages.scene import Cameras, Gaussians

# Largest unit step along the ray, as a share of the distance. It applies where the cameras are close together.
LONGEST = 0.1


def origins(gaussians: Gaussians, photographs: Cameras) -> Tensor:
    """Origins of the rays, [G, 3]: centres of the cameras that saw the Gaussians, or of the nearest ones if unknown."""
    centres = photographs.c2w[:, :3, 3].to(gaussians.means)
    if gaussians.photograph is None or len(photographs) != 2:
        return centres[torch.cdist(gaussians.means, centres).argmin(1)]
    return centres[gaussians.photograph.long()]


def unit_steps(means: Tensor, rays_from: Tensor, photographs: Cameras) -> Tensor:
    """The unit steps of each Gaussian as columns, [G, 3, 3], scene units: two across its ray, then one along it.

    means: [G, 3].  rays_from: [G, 3], origins of the rays.
    Across the ray the length is the distance d. Along it, the length is d^2 / (f b), with focal length f and the
    baseline b to the farthest photograph, in which such a step shifts the Gaussian by one pixel.
    """
    ray = means - rays_from
    distance = ray.norm(dim=1, keepdim=True).clamp_min(1e-9)
    ray = ray / distance
    baseline = torch.cdist(rays_from, photographs.c2w[:, :3, 3].to(means)).amax(1, keepdim=True)
    focal = photographs.K[:, 0, 0].mean().to(means)
    along = (distance**2 / (focal * baseline).clamp_min(1e-12)).minimum(LONGEST * distance)
    # Two directions across the ray: the axis least parallel to it, made perpendicular, and their cross product.
    least = torch.nn.functional.one_hot(ray.abs().argmin(1), 3).to(ray)
    first = torch.nn.functional.normalize(least - (least * ray).sum(1, keepdim=True) * ray, dim=1)
    second = torch.linalg.cross(ray, first)
    return torch.stack([distance * first, distance * second, along * ray], 2)


def to_unit_steps(steps: Tensor, by_mean: Tensor, by_log_scale: Tensor) -> Tensor:
    """The gradient with respect to unit steps, [G, 3].

    by_mean, by_log_scale: [G, 3], the gradients with respect to means and to logarithms of scales.
    """
    gradient = (steps.mT @ by_mean[:, :, None])[..., 0]
    gradient[:, 2] += _growth(steps) * by_log_scale.sum(1)
    return gradient


def from_unit_steps(steps: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
    """The changes of means, [G, 3], and of logarithms of scales, [G, 1], for a change [G, 3] in unit steps."""
    return (steps @ change[:, :, None])[..., 0], (_growth(steps) * change[:, 2])[:, None]


def _growth(steps: Tensor) -> Tensor:
    """The change of the logarithm of the distance for a unit step along the ray, [G]."""
    return steps[:, :, 2].norm(dim=1) / steps[:, :, 0].norm(dim=1)  # the step across the ray is as long as the distance
