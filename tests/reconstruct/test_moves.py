"""A Gaussian moves along the ray on which it was seen by pixels of parallax, sideways hardly at all."""

import pytest
import torch

from stages.geometry import project, unproject
from stages.reconstruct.moves import from_moves, moves, origins, to_moves
from stages.scene import Cameras

SIZE = (24, 32)


def photographs(baseline: float) -> Cameras:
    c2w = torch.eye(4).repeat(2, 1, 1)
    c2w[1, 0, 3] = baseline
    return Cameras(c2w, torch.tensor([[40.0, 0, 16], [0, 40, 12], [0, 0, 1]]).repeat(2, 1, 1), SIZE)


def seen(cameras: Cameras) -> torch.Tensor:
    """A Gaussian on each pixel of each photograph, photograph by photograph."""
    depth = 2 + torch.rand(2, *SIZE, generator=torch.Generator().manual_seed(0))
    return unproject(depth, cameras.K, cameras.c2w).reshape(-1, 3)


def test_a_prior_lists_its_gaussians_photograph_by_photograph() -> None:
    cameras = photographs(0.5)
    means = seen(cameras)
    half = len(means) // 2
    assert torch.equal(origins(means, cameras), cameras.c2w[:, :3, 3].repeat_interleave(half, 0))
    some = torch.rand(len(means), generator=torch.Generator().manual_seed(3)) < torch.cat(
        [torch.full((half,), 0.6), torch.full((half,), 0.9)]
    )
    own = cameras.c2w[:, :3, 3].repeat_interleave(half, 0)
    assert torch.equal(origins(means[some], cameras), own[some])  # a prior carves more from one photograph than from the other
    shuffled = means[torch.randperm(len(means), generator=torch.Generator().manual_seed(1))]
    nearest = torch.cdist(shuffled, cameras.c2w[:, :3, 3]).argmin(1)
    assert torch.equal(origins(shuffled, cameras), cameras.c2w[nearest, :3, 3])
    assert len(origins(means[:0], cameras)) == 0


@pytest.mark.parametrize("unit", [1.0, 1e-3])
def test_a_step_along_the_ray_is_a_pixel_in_the_other_photograph_and_none_in_its_own(unit: float) -> None:
    cameras = photographs(1.0 * unit)
    means = seen(photographs(1.0)) * unit
    came = origins(means, cameras)
    steps = moves(means, came, cameras)
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
    steps = moves(means, origins(means, cameras), cameras)
    assert torch.allclose(steps[:, :, 2].norm(dim=1), 0.1 * means.norm(dim=1), rtol=1e-3)


def test_a_move_keeps_the_size_that_it_was_seen_with_and_its_gradient_is_that_of_the_move() -> None:
    cameras = photographs(1.0)
    means = seen(cameras).double()
    came = origins(means, cameras)
    steps = moves(means, came, cameras)
    g = torch.Generator().manual_seed(2)
    weights = [torch.randn(len(means), 3, generator=g, dtype=torch.float64) for _ in range(2)]
    change = torch.zeros(len(means), 3, dtype=torch.float64)
    change[:, 2] = 0.01
    shift, growth = from_moves(steps, change)
    farther = (means + shift - came).norm(dim=1) / (means - came).norm(dim=1)
    assert torch.allclose(growth[:, 0].exp(), farther, rtol=1e-4)
    gained = (weights[0] * shift).sum(1) + (weights[1] * growth).sum(1)
    assert torch.allclose((to_moves(steps, *weights) * change).sum(1), gained)
