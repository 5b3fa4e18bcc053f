"""The measures of measure_pictures.py on pictures whose answer is known."""

import pytest
import torch

from stages.evaluate.cases import Task
from stages.scene import Cameras, Views
from tests.tools.measure_pictures import TINT, holes, tinted, turned

SIZE = (60, 80)


def task() -> Task:
    c2w = torch.eye(4).repeat(3, 1, 1)
    c2w[:, 0, 3] = torch.tensor([0.0, 1.0, 0.25])
    K = torch.tensor([[60.0, 0, 40], [0, 60, 30], [0, 0, 1]]).repeat(3, 1, 1)
    cameras = Cameras(c2w, K, SIZE)
    bright = torch.full((3, 3, *SIZE), 0.8)
    return Task(Views(bright[:2], cameras[slice(2)]), cameras[slice(2, 3)], bright[2:], torch.tensor([0.25]))


def test_holes_are_counted_within_a_surface_and_not_at_its_edge() -> None:
    alpha, depth = torch.ones(1, 20, 20), torch.full((1, 20, 20), 2.0)
    depth[..., 10:] = 4.0
    alpha[0, 5, 4] = alpha[0, 5, 10] = 0.5
    assert holes(alpha, depth) == pytest.approx(100 / 400)


def test_a_target_is_tinted_by_as_much_as_it_is_near_to_the_tinted_photograph() -> None:
    other = tinted(task())
    assert torch.equal(other.context.images[0], task().context.images[0])
    assert torch.allclose(other.context.images[1], 0.8 * TINT.expand(3, *SIZE), atol=0.003)
    assert torch.allclose(other.truth[0], 0.8 * (TINT**0.25).expand(3, *SIZE), atol=1e-5)


def test_a_point_stays_where_it_was_when_photograph_and_camera_are_turned() -> None:
    given = task()
    given.context.images[1, :, 12, 60] = 0.1  # a dark pixel
    other = turned(given)
    dark = (other.context.images[1, 0] - 0.1).abs()
    dark[~(other.context.images[1, 0] > 0.02)] = 1
    row, column = divmod(int(dark[6:-6, 8:-8].argmin()), SIZE[1] - 16)
    ray = torch.tensor([(column + 8.5 - 40) / 60, (row + 6.5 - 30) / 60, 1])
    x, y, z = other.context.cameras.c2w[1, :3, :3] @ ray
    assert abs(float(x / z * 60 + 40) - 60.5) < 0.8
    assert abs(float(y / z * 60 + 30) - 12.5) < 0.8
    assert float((other.context.images[1].amax(0) < 0.02).float().mean()) > 0.01, "wedges"
