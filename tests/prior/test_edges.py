"""Depth jumps where the photograph has an edge, and stays where it is smooth."""

import torch
from torch import Generator, Tensor

from stages.prior.edges import BESIDE, sharp_depth, weighted_median

SIZE, EDGE, NEAR, FAR = (32, 48), 20, 1.0, 2.0
ALL = torch.ones(SIZE, dtype=torch.bool)


def photograph() -> Tensor:
    """Red left of EDGE, blue right of it, [3, h, w]."""
    image = torch.zeros(3, *SIZE)
    image[0, :, :EDGE], image[2, :, EDGE:] = 1.0, 1.0
    return image


def true_depth() -> Tensor:
    return torch.where(torch.arange(SIZE[1]) < EDGE, NEAR, FAR).expand(SIZE).clone()


def blurred_depth(width: int = 3) -> Tensor:
    """The same with a ramp of 2 * width pixels in place of the jump."""
    along = (torch.arange(SIZE[1]) + 0.5 - EDGE).clamp(-width, width)
    return ((NEAR + FAR) / 2 + (FAR - NEAR) / 2 * along / width).expand(SIZE).clone()


def test_a_ramp_becomes_a_jump_at_the_edge_of_the_photograph() -> None:
    between = ((blurred_depth() - true_depth()).abs() > 0.1).float().mean()
    left = ((sharp_depth(blurred_depth(), photograph(), ALL) - true_depth()).abs() > 0.1).any(0).nonzero()
    assert between > 0.08
    assert left[:, 0].tolist() in ([], [EDGE])  # the nearer surface may take one more pixel


def test_ragged_depth_follows_the_edge_of_the_photograph() -> None:
    row, column = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
    ragged = torch.where(column < EDGE + torch.where(row % 4 < 2, 2, -2), NEAR, FAR)
    before, after = ((d != true_depth()).float().mean() for d in (ragged, sharp_depth(ragged, photograph(), ALL)))
    assert after < 0.3 * before


def test_the_mixed_pixels_of_an_edge_belong_to_the_nearer_surface() -> None:
    image = photograph()
    image[:, :, EDGE - 1] = torch.tensor([0.05, 0.0, 0.95])[:, None]  # looks like the farther one
    assert bool((sharp_depth(blurred_depth(), image, ALL)[:, : EDGE - 1] == NEAR).all())
    assert bool((sharp_depth(blurred_depth(), image, ALL)[:, EDGE - 1] == NEAR).all())


def test_depth_without_jumps_stays() -> None:
    slope = torch.linspace(1.0, 1.5, SIZE[1]).expand(SIZE).clone()
    assert torch.equal(sharp_depth(slope, photograph(), ALL), slope)


def test_depth_far_from_a_jump_stays() -> None:
    depth = true_depth() * (1 + 0.01 * torch.rand(SIZE, generator=Generator().manual_seed(0)))
    changed = (sharp_depth(depth, photograph(), ALL) != depth).any(0).nonzero()[:, 0]
    assert len(changed) > 0
    assert changed.min() >= EDGE - BESIDE - 2
    assert changed.max() < EDGE + BESIDE + 2


def test_the_median_counts_weights() -> None:
    values = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0]])
    weights = torch.tensor([[1.0, 1.0, 1.0], [5.0, 1.0, 1.0]])
    assert weighted_median(values, weights).tolist() == [2.0, 3.0]
