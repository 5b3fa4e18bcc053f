"""Epipolar distances and triangulation on points whose place is known."""

import math

import pytest
import torch

from stages.geometry import project
from stages.metrics.camera_consistency import DISCARDED, GOOD, epipolar_distance, plot_matches, triangulated_depth
from stages.scene import Cameras


@pytest.fixture
def cameras() -> Cameras:
    c2w = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    c, s = math.cos(0.1), math.sin(0.1)
    c2w[1, :3, :3] = torch.tensor([[c, 0, -s], [0, 1, 0], [s, 0, c]], dtype=torch.float64)
    c2w[1, :3, 3] = torch.tensor([0.6, 0.1, -0.1])
    K = torch.tensor([[200.0, 0, 130], [0, 210, 90], [0, 0, 1]], dtype=torch.float64).repeat(2, 1, 1)
    return Cameras(c2w, K, (180, 260))


@pytest.fixture
def points() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(50, 3, generator=generator, dtype=torch.float64) * torch.tensor([2.0, 2.0, 4.0]) + torch.tensor(
        [-1.0, -1.0, 3.0]
    )


def sideways() -> Cameras:
    """Two cameras of focal length 100 px, one unit apart along x."""
    c2w = torch.eye(4).repeat(2, 1, 1)
    c2w[1, 0, 3] = 1
    return Cameras(c2w, torch.diag(torch.tensor([100.0, 100, 1])).repeat(2, 1, 1), (100, 100))


def test_true_matches_lie_on_their_lines(cameras: Cameras, points: torch.Tensor) -> None:
    (a, _), (b, _) = (project(points, K, c2w) for K, c2w in zip(cameras.K, cameras.c2w, strict=True))
    assert epipolar_distance(a, b, cameras).max() < 1e-9
    assert epipolar_distance(b, a, cameras[[1, 0]]).max() < 1e-9


def test_distance_is_in_pixels() -> None:
    """The epipolar lines of a camera that moves along x are the rows."""
    a = torch.tensor([[10.0, 20.0], [30.0, 40.0]])
    b = torch.tensor([[7.0, 23.0], [0.0, 40.5]])
    torch.testing.assert_close(epipolar_distance(a, b, sideways()), torch.tensor([3.0, 0.5], dtype=torch.float64))


def test_triangulated_depth(cameras: Cameras, points: torch.Tensor) -> None:
    (a, z), (b, _) = (project(points, K, c2w) for K, c2w in zip(cameras.K, cameras.c2w, strict=True))
    torch.testing.assert_close(triangulated_depth(a, b, cameras), z, rtol=1e-9, atol=0)


def test_depth_of_rays_that_part() -> None:
    """A camera that moves along x sees near things move to the left; what moves to the right would be behind it."""
    depth = triangulated_depth(
        torch.tensor([[50.0, 50.0], [50.0, 50.0]]), torch.tensor([[40.0, 50.0], [60.0, 50.0]]), sideways()
    )
    torch.testing.assert_close(depth, torch.tensor([10.0, -10.0], dtype=torch.float64))


def test_picture_of_matches() -> None:
    picture = plot_matches(
        torch.zeros(3, 20, 30),
        torch.ones(3, 20, 30),
        torch.tensor([[2.0, 5.0], [2.0, 15.0]]),
        torch.tensor([[20.0, 5.0], [20.0, 15.0]]),
        torch.tensor([True, False]),
    )
    assert picture.shape == (3, 20, 60)
    assert [round(v * 255) for v in picture[:, 5, 30].tolist()] == list(GOOD)
    assert [round(v * 255) for v in picture[:, 15, 30].tolist()] == list(DISCARDED)
    assert picture[:, 10, 10].max() == 0
    assert picture[:, 10, 50].min() == 1
