"""The clearance of cameras from surfaces, against plain geometry and a sum that is written out."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from stages.scene import Cameras, Gaussians
from stages.walk.clearance import AREA, BINS, FARTHEST, Surfaces, surfaces_near, way
from tests.walk.worlds import DOOR, WALL, looking_along_y, photographed

STEP = FARTHEST / BINS


def by_sorting(surfaces: Surfaces, position: Tensor) -> float:
    """The distance of the Gaussian with which the area within it reaches AREA."""
    distance = (surfaces.points - position).norm(dim=1) / surfaces.depth
    order = distance.argsort()
    enough = surfaces.area[order].cumsum(0) >= AREA
    return min(float(distance[order][enough].min()), FARTHEST) if bool(enough.any()) else FARTHEST


def closed_door() -> tuple[Cameras, Gaussians]:
    cameras = looking_along_y((0, -2, 1.4), (0, 1.5, 1.4))
    return cameras, photographed(WALL + DOOR, cameras)[0]


def test_clearance_is_the_radius_that_a_plain_sum_finds() -> None:
    cameras, gaussians = closed_door()
    surfaces = surfaces_near(cameras, gaussians, cameras)
    positions = torch.rand(300, 3) * torch.tensor([2.0, 3.0, 2.0]) - torch.tensor([1.0, 2.0, 0.0])
    expected = torch.tensor([by_sorting(surfaces, position) for position in positions])
    measured = surfaces.clearance(positions)
    assert ((measured - expected).abs() < 1.01 * STEP).all()
    assert measured.min() < 0.1
    assert measured.max() == FARTHEST


def test_clearance_of_a_wall_is_the_distance_to_it() -> None:
    """A disc of AREA on a plane at distance d ends at a distance of sqrt(d^2 + 0.03^2)."""
    cameras, gaussians = closed_door()
    surfaces = surfaces_near(cameras, gaussians, cameras)
    for distance in (0.0, 0.05, 0.1, 0.2):
        position = torch.tensor([0.0, -0.03 - distance * surfaces.depth, 1.4])  # before the face of the door
        expected = (distance**2 + 0.03**2) ** 0.5
        assert float(surfaces.clearance(position)) == pytest.approx(expected, abs=0.006)


def test_the_unit_of_the_scene_does_not_matter() -> None:
    cameras, gaussians = closed_door()
    c2w = cameras.c2w.clone()
    c2w[:, :3, 3] *= 1000
    large = Cameras(c2w, cameras.K, cameras.size)
    grown = replace(gaussians, means=gaussians.means * 1000, scales=gaussians.scales * 1000)
    positions = way(looking_along_y((0, -2, 1.4), (0, -0.5, 1.4), (0, 1, 1.4)), 0.1)
    small = surfaces_near(cameras, gaussians, cameras).clearance(positions)
    assert torch.allclose(small, surfaces_near(large, grown, large).clearance(1000 * positions), atol=1.01 * STEP)


def test_a_few_gaussians_that_float_are_no_surface() -> None:
    cameras, gaussians = closed_door()
    means = gaussians.means.clone()
    means[:100:10] = torch.tensor([0.0, -1.0, 1.4])
    position = torch.tensor([0.0, -1.0, 1.4])
    assert float(surfaces_near(cameras, replace(gaussians, means=means), cameras).clearance(position)) == FARTHEST


def test_a_scene_without_gaussians_is_clear() -> None:
    cameras, gaussians = closed_door()
    assert (surfaces_near(cameras, gaussians[:0], cameras).clearance(torch.zeros(2, 3)) == FARTHEST).all()


def test_stops_lie_between_a_camera_and_the_next() -> None:
    stops = way(looking_along_y((0, 0, 0), (0, 1, 0), (0, 1.5, 0)), 0.3)
    assert stops[..., 1].tolist() == [[0, 0.25, 0.5, 0.75], [1, 1.125, 1.25, 1.375], [1.5] * 4]
    assert way(looking_along_y((0, 0, 0)), 0.3).shape == (1, 1, 3)
