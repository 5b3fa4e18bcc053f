"""A Gaussian moves along the ray on which it was seen by pixels of parallax, sideways hardly at all."""

import pytest
import torch

from stages.geometry import project, unproject
from stages.reconstruct.position_steps import from_unit_steps, origins, to_unit_steps, unit_steps
from stages.scene import Cameras, Gaussians

SIZE = (24, 32)


def photographs(baseline: float) -> Cameras:
    c2w = torch.eye(4).repeat(2, 1, 1)
    c2w[1, 0, 3] = baseline
    return Cameras(c2w, torch.tensor([[40.0, 0, 16], [0, 40, 12], [0, 0, 1]]).repeat(2, 1, 1), SIZE)


def seen(cameras: Cameras) -> torch.Tensor:
    """A Gaussian on each pixel of each photograph, photograph by photograph."""
    depth = 2 + torch.rand(2, *SIZE, generator=torch.Generator().manual_seed(0))
    return unproject(depth, cameras.K, cameras.c2w).reshape(-1, 3)


def scene(means: torch.Tensor, photograph: torch.Tensor | None = None) -> Gaussians:
    g = len(means)
    return Gaussians(
        means,
        torch.ones(g, 3),
        torch.tensor([1.0, 0, 0, 0]).expand(g, 4),
        torch.ones(g),
        torch.zeros(g, 1, 3),
        photograph,
    )


def known(means: torch.Tensor) -> Gaussians:
    """Those of `seen`, which know their photograph."""
    return scene(means, torch.arange(2, dtype=torch.uint8).repeat_interleave(len(means) // 2))


def test_a_gaussian_was_seen_from_its_photograph_or_else_the_nearest_camera() -> None:
    cameras = photographs(0.5)
    means = seen(cameras)
    of = torch.arange(2, dtype=torch.uint8).repeat_interleave(len(means) // 2)
    order = torch.randperm(len(means), generator=torch.Generator().manual_seed(1))
    assert torch.equal(origins(scene(means[order], of[order]), cameras), cameras.c2w[of[order].long(), :3, 3])
    nearest = torch.cdist(means, cameras.c2w[:, :3, 3]).argmin(1)
    assert torch.equal(origins(scene(means), cameras), cameras.c2w[nearest, :3, 3])
    assert not torch.equal(nearest, of.long())
    three = Cameras(cameras.c2w[[0, 1, 1]], cameras.K[[0, 1, 1]], SIZE)
    assert torch.equal(origins(scene(means, of), three), cameras.c2w[nearest, :3, 3]), (
        "of a pair among them, which is not known"
    )


@pytest.mark.parametrize("unit", [1.0, 1e-3])
def test_a_step_along_the_ray_is_a_pixel_in_the_other_photograph_and_none_in_its_own(unit: float) -> None:
    cameras = photographs(1.0 * unit)
    means = seen(photographs(1.0)) * unit
    came = origins(known(means), cameras)
    steps = unit_steps(means, came, cameras)
    assert steps.shape == (len(means), 3, 3)
    half = len(means) // 2
    own, other = (project(means[:half], cameras.K[v], cameras.c2w[v])[0] for v in (0, 1))
    after = means[:half] + 0.1 * steps[:half, :, 2]
    assert (project(after, cameras.K[0], cameras.c2w[0])[0] - own).abs().max() < 1e-3
    shift = (project(after, cameras.K[1], cameras.c2w[1])[0] - other).norm(dim=1)
    assert 0.08 < float(shift.median()) < 0.12
    distance = (means - came).norm(dim=1)
    assert torch.allclose(steps[:, :, :2].norm(dim=1), distance[:, None].expand(-1, 2), rtol=1e-3)
    assert (steps.mT @ (means - came)[:, :, None])[:, :2].abs().max() < 1e-5 * unit**2


def test_without_a_baseline_steps_stay_finite() -> None:
    cameras = photographs(0.0)
    means = seen(cameras)
    steps = unit_steps(means, origins(known(means), cameras), cameras)
    assert torch.allclose(steps[:, :, 2].norm(dim=1), 0.1 * means.norm(dim=1), rtol=1e-3)


def test_a_move_keeps_the_size_that_it_was_seen_with_and_its_gradient_is_that_of_the_move() -> None:
    cameras = photographs(1.0)
    means = seen(cameras).double()
    came = origins(known(means), cameras)
    steps = unit_steps(means, came, cameras)
    g = torch.Generator().manual_seed(2)
    weights = [torch.randn(len(means), 3, generator=g, dtype=torch.float64) for _ in range(2)]
    change = torch.zeros(len(means), 3, dtype=torch.float64)
    change[:, 2] = 0.01
    shift, growth = from_unit_steps(steps, change)
    farther = (means + shift - came).norm(dim=1) / (means - came).norm(dim=1)
    assert torch.allclose(growth[:, 0].exp(), farther, rtol=1e-4)
    gained = (weights[0] * shift).sum(1) + (weights[1] * growth).sum(1)
    assert torch.allclose((to_unit_steps(steps, *weights) * change).sum(1), gained)
