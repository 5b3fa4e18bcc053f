"""Depths of two views are fused along each pixel's ray where the views agree, and nowhere else."""

import pytest
import torch
from torch import Generator, Tensor

from stages.geometry import depth_of, unproject
from stages.prior.fuse import AGREE, PASSES, fuse
from stages.scene import Cameras, Gaussians

SIZE = (24, 32)


def cameras(shift: float = 0.3) -> Cameras:
    c2w = torch.eye(4).repeat(2, 1, 1)
    c2w[1, 0, 3] = shift
    turn = torch.tensor(0.05)
    c2w[1, :3, :3] = torch.tensor([[turn.cos(), 0, -turn.sin()], [0, 1, 0], [turn.sin(), 0, turn.cos()]])
    K = torch.tensor([[30.0, 0, 16], [0, 30, 12], [0, 0, 1]]).expand(2, 3, 3)
    return Cameras(c2w, K, SIZE)


def scene(depth: Tensor, views: Cameras) -> Gaussians:
    means = unproject(depth, views.K, views.c2w).reshape(-1, 3)
    g = len(means)
    return Gaussians(
        means, torch.full((g, 3), 0.02), torch.tensor([1.0, 0, 0, 0]).expand(g, 4), torch.ones(g), torch.zeros(g, 1, 3)
    )


def wall(views: Cameras) -> Tensor:
    """Depth of the plane z = 3 in both views."""
    directions = unproject(torch.ones(2, *SIZE), views.K, views.c2w) - views.c2w[:, None, None, :3, 3]
    return (3 - views.c2w[:, 2, 3])[:, None, None] / directions[..., 2]


def test_noise_of_two_views_is_averaged() -> None:
    views, g = cameras(), Generator().manual_seed(0)
    truth = wall(views)
    noisy = truth * (1 + 0.02 * torch.randn(truth.shape, generator=g))
    _, depth = fuse(scene(noisy, views), torch.ones_like(truth), views)
    middle = (slice(None), slice(2, -2), slice(8, -8))  # seen by both
    before, after = ((d / truth - 1)[middle].std() for d in (noisy, depth))
    assert after < 0.75 * before


def test_exact_depth_stays() -> None:
    views = cameras()
    given = scene(wall(views), views)
    fused, depth = fuse(given, torch.ones(2, *SIZE), views)
    assert torch.allclose(depth, wall(views), rtol=1e-3)
    assert torch.allclose(fused.means, given.means, atol=5e-3)


def test_points_move_along_their_rays_and_sizes_follow() -> None:
    views, g = cameras(), Generator().manual_seed(1)
    given = scene(wall(views) * (1 + 0.02 * torch.randn(2, *SIZE, generator=g)), views)
    fused, depth = fuse(given, torch.rand(2, *SIZE, generator=g), views)
    assert torch.allclose(fused.means, scene(depth, views).means, atol=1e-5)
    factor = (depth.flatten() / depth_of(given.means.unflatten(0, (2, -1)), views.c2w).flatten())[:, None]
    assert torch.allclose(fused.scales, given.scales * factor, rtol=1e-4)
    assert float((factor - 1).abs().max()) > 0.005


def test_views_that_disagree_or_do_not_overlap_keep_their_depth() -> None:
    near = cameras()
    apart = wall(near) * torch.tensor([1.0, 1 + 2 * AGREE])[:, None, None]
    assert torch.allclose(fuse(scene(apart, near), torch.ones(2, *SIZE), near)[1], apart, rtol=1e-5)
    far = cameras(20.0)
    alone = wall(far) * torch.tensor([1.0, 1.05])[:, None, None]
    assert torch.allclose(fuse(scene(alone, far), torch.ones(2, *SIZE), far)[1], alone, rtol=1e-5)


def test_the_surer_view_counts_for_more() -> None:
    views = cameras(0.05)
    apart = wall(views) * torch.tensor([1.0, 1.05])[:, None, None]
    confidence = torch.tensor([1.0, 0.1])[:, None, None].expand(2, *SIZE)
    depth = fuse(scene(apart, views), confidence, views)[1][:, 8:-8, 8:-8]
    assert torch.allclose(depth, wall(views)[:, 8:-8, 8:-8], rtol=5e-3)


@pytest.mark.parametrize("view", [0, 1])
def test_a_pixel_is_fused_as_the_formula_says(view: int) -> None:
    """On a pixel whose line meets the other view at the centre of a pixel of the same depth all around."""
    views = Cameras(torch.eye(4).repeat(2, 1, 1), cameras().K, SIZE)
    views.c2w[1, 0, 3] = 3 * 4 / 30  # four pixels at depth 3
    depth = torch.full((2, *SIZE), 3.0)
    depth[1 - view] *= 1.04
    confidence = torch.full((2, *SIZE), 0.8)
    confidence[1 - view] = 0.5
    found = fuse(scene(depth, views), confidence, views)[1][view, 12, 16]
    inverse, other = 1 / 3.0, 1 / 3.12
    for _ in range(PASSES):
        inverse, other = (
            (0.64 * inverse + 0.25 * other) / (0.64 + 0.25),
            (0.25 * other + 0.64 * inverse) / (0.25 + 0.64),
        )
    assert float(1 / found) == pytest.approx(inverse, rel=1e-5)
