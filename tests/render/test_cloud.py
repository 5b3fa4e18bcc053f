"""One cloud of both photographs: no surface twice, sharp, closed, and nothing between two surfaces."""

import math

import pytest
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


def stripes(x: float) -> torch.Tensor:
    """A wall with stripes of 5 px, seen from (x, 0), [3, h, w]."""
    columns = (torch.arange(SIZE[1]) + 0.5 - SIZE[1] / 2) / 60.0 * Z + x
    return (0.5 + 0.3 * torch.sin(columns * 60.0 / Z * 2 * math.pi / 5)).expand(3, *SIZE).clone()


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


def test_what_one_photograph_contradicts_does_not_hang_in_front_of_it() -> None:
    first, second = photograph(0.0), photograph(SHIFT)
    rows, columns = slice(16, 28), slice(20, 32)
    second[:, rows, columns] = torch.tensor([1.0, 0, 0])[:, None, None]  # something red that the first does not show
    gaussians, views = scene(first, second)
    red = torch.zeros(2, *SIZE, dtype=torch.bool)
    red[1, rows, columns] = True
    origin = torch.tensor([SHIFT, 0, 0])
    gaussians.means[red.flatten()] = (gaussians.means[red.flatten()] - origin) * 0.5 + origin
    gaussians.scales[red.flatten()] *= 0.5
    cloud = one_cloud(gaussians, views, Exposure.same())
    inner = cloud.means[:, 2] < 0.75 * Z
    assert not inner.any()
    seen = draw(cloud, cameras((0.0, 0.0)))
    assert psnr(seen.image[..., 6:-6, 6:-6], first[None, :, 6:-6, 6:-6]).min() > 25
    assert seen.alpha[..., 6:-6, 6:-6].min() > 0.9, "the wall behind it is there"


def test_colours_undo_the_blur_of_a_viewer(monkeypatch: pytest.MonkeyPatch) -> None:
    gaussians, views = scene(stripes(0.0), stripes(SHIFT))
    between = cameras((0.3 * SHIFT, 0.0))
    truth = stripes(0.3 * SHIFT)[None, :, 6:-6, 6:-6]

    def shown() -> float:
        drawing = draw(one_cloud(gaussians, views, Exposure.same()), between)
        return float(psnr(drawing.image[..., 6:-6, 6:-6], truth))

    fitted = shown()
    monkeypatch.setattr("stages.render.cloud.ITERATIONS", 0)
    assert fitted > shown() + 3
