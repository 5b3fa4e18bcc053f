"""One cloud of both photographs: no surface twice, sharp, closed, and nothing between two surfaces."""

import torch

from stages.metrics.image import psnr
from stages.render import one_cloud
from stages.scene import Exposure, Views
from stages.splat import draw
from tests.render.test_photographs import SHIFT, SIZE, Z, cameras, photograph, scene


def full(x: float) -> torch.Tensor:
    """The photograph at twice the size."""
    import torch.nn.functional as F

    return F.interpolate(photograph(x)[None], scale_factor=2.0, mode="bicubic")[0].clamp(0, 1)


def test_what_both_photographs_show_is_there_once_and_at_the_density_of_the_result() -> None:
    gaussians, views = scene(photograph(0.0), photograph(SHIFT))
    both = cameras((0.0, 0.0), (SHIFT, 0.0))
    K = both.K * torch.tensor([[2.0], [2.0], [1.0]])
    large = Views(torch.stack([full(0.0), full(SHIFT)]), type(both)(both.c2w, K, (2 * SIZE[0], 2 * SIZE[1])))
    cloud = one_cloud(gaussians, Views(views.images, views.cameras, views.depth, large), Exposure.same())
    pixels = 4 * SIZE[0] * SIZE[1]
    shared = pixels * (1 - SHIFT / (SIZE[1] / 60.0 * Z))  # of a photograph, on the wall
    assert abs(len(cloud) - (2 * pixels - shared)) < 0.05 * pixels
    assert (cloud.means[:, 2] - Z).abs().max() < 1e-3
    seen = draw(cloud, large.cameras)
    inside = slice(6, -6)
    assert psnr(seen.image[..., inside, inside], large.images[..., inside, inside]).min() > 30
    zoomed = draw(cloud, type(both)(both.c2w, K * torch.tensor([[2.0], [2.0], [1.0]]), (4 * SIZE[0], 4 * SIZE[1])))
    assert (zoomed.alpha[..., 12:-12, 12:-12] < 0.9).float().mean() < 0.005, "closed at twice the size"


def test_nothing_lies_between_two_surfaces() -> None:
    gaussians, views = scene(photograph(0.0), photograph(SHIFT))
    near = gaussians.means[:, 1] > 0  # the lower half of the wall comes nearer
    origin = torch.where(gaussians.photograph[:, None] == 0, 0.0, 1.0) * torch.tensor([SHIFT, 0, 0])  # type: ignore[index]
    gaussians.means[near] = (gaussians.means[near] - origin[near]) * 0.5 + origin[near]
    gaussians.scales[near] *= 0.5
    cloud = one_cloud(gaussians, views, Exposure.same())
    off = (cloud.means[:, 2] - Z).abs().minimum((cloud.means[:, 2] - Z / 2).abs())
    assert off.max() < 0.02 * Z
    assert (cloud.means[:, 2] < 0.6 * Z).any()
    assert (cloud.means[:, 2] > 0.9 * Z).any()
