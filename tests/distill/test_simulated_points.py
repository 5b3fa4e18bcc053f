"""Simulated matches of worlds lie where real ones do, and err as real ones do."""

import pytest
import torch
from torch import Generator, Tensor

from stages.distill import simulated_points as module
from stages.distill.simulated_points import POSITION_ERROR, simulated_points
from stages.geometry import project

SIZE = (48, 64)
Pair = tuple[Tensor, Tensor, Tensor, Tensor]


def wall(texture: float = 0.3) -> Pair:
    """Images, depth, c2w and K of a textured wall, 4 units away, seen from two places 0.5 apart."""
    images = 0.5 + texture * (torch.rand(1, 2, 3, *SIZE, generator=Generator().manual_seed(0)) - 0.5)
    c2w = torch.eye(4).repeat(1, 2, 1, 1)
    c2w[0, 1, 0, 3] = 0.5
    K = torch.tensor([[[60.0, 0, 32], [0, 60, 24], [0, 0, 1]]])
    return images, torch.full((1, 2, *SIZE), 4.0), c2w, K


def some(pair: Pair) -> Tensor:
    """The points of the first seed that gives many."""
    for seed in range(50):
        points = simulated_points(*pair, Generator().manual_seed(seed))
        if points is not None and points.shape[1] > 200:
            return points[0]
    raise AssertionError("there are none")


def test_both_photographs_show_the_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POSITION_ERROR", 0.0)
    monkeypatch.setattr(module, "WRONG", 0.0)
    pair = wall()
    points = some(pair)
    torch.testing.assert_close(points[:, 2], torch.full_like(points[:, 2], 4.0))
    for view in (0, 1):
        pixels, _ = project(points, pair[3][0], pair[2][0, view])
        assert (pixels >= 0).all()
        assert (pixels <= torch.tensor(SIZE).flip(0)).all()


def test_they_err_by_a_part_of_a_pixel_along_their_lines() -> None:
    pair = wall()
    points = some(pair)
    first, _ = project(points, pair[3][0], pair[2][0, 0])
    torch.testing.assert_close(first % 1, torch.full_like(first, 0.5), atol=1e-3, rtol=0)
    # A wall 4 units away is 0.5 * 60 / 4 px to the left in the second photograph.
    second, _ = project(points, pair[3][0], pair[2][0, 1])
    error = (second - first)[:, 0] + 7.5
    assert 0.4 * POSITION_ERROR < float(error.abs().median()) < POSITION_ERROR
    assert float((error.abs() > 1.5).float().mean()) < 0.08, "few are wrong"
    assert float(error.abs().max()) > 1.5, "but some are"


def test_the_same_numbers_give_the_same_points() -> None:
    torch.testing.assert_close(some(wall()), some(wall()), atol=0, rtol=0)


def test_plain_surfaces_give_no_points() -> None:
    assert all(simulated_points(*wall(0.01), Generator().manual_seed(seed)) is None for seed in range(10))


def test_some_pairs_have_no_points() -> None:
    found = [simulated_points(*wall(), Generator().manual_seed(seed)) is None for seed in range(60)]
    assert 0 < sum(found) < 30
