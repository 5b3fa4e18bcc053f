"""Errors of depth at known points, in scenes small enough to count by hand."""

import pytest
import torch
from torch import Tensor

from stages.scene import Cameras
from tests.tools.depth_at_points import (
    BOTH,
    ONE,
    ROWS,
    UNSETTLED,
    errors_by_row,
    figures,
    mean_of_scenes,
    near_edges,
    relative_errors,
    sight,
)
from tests.tools.true_points import TruePoints

SIZE = (100, 100)


def cameras(*centres: float) -> Cameras:
    """Cameras on the x axis that look along z, focal length 100 px."""
    c2w = torch.eye(4, dtype=torch.float64).repeat(len(centres), 1, 1)
    c2w[:, 0, 3] = torch.tensor(centres, dtype=torch.float64)
    K = torch.tensor([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]], dtype=torch.float64)
    return Cameras(c2w, K.repeat(len(centres), 1, 1), SIZE)


def scene(*points: tuple[float, float, float, list[int]]) -> TruePoints:
    """Points x, y, z with the frames that see them."""
    seen = [(index, frame) for index, point in enumerate(points) for frame in point[3]]
    return TruePoints(torch.tensor([point[:3] for point in points], dtype=torch.float64), torch.tensor(seen))


def test_the_other_photograph_sees_misses_or_hides_a_point() -> None:
    points = scene(
        (0.0, 0.0, 4.0, [0, 1]),  # a feature of both
        (-3.0, 0.0, 4.0, [0]),  # beyond the border of the second
        (0.0, 0.0, -1.0, [0]),  # behind the second
        (1.0, 1.0, 4.0, [0]),  # between two points that stand much nearer in the second
        (0.5, 0.5, 2.0, [1]),
        (0.51, 0.5, 2.0, [1]),
        (-1.0, -1.0, 4.0, [0]),  # beside two points of the same depth
        (-1.01, -1.0, 4.0, [1]),
        (-1.0, -1.01, 4.1, [1]),
        (1.0, -1.0, 4.0, [0]),  # beside one of the same depth and one that is nearer
        (1.01, -1.0, 4.0, [1]),
        (0.5, -0.5, 2.0, [1]),
        (-1.0, 1.0, 4.0, [0]),  # beside one only
        (-1.01, 1.0, 4.0, [1]),
    )
    answer = sight(points, points.of_frame(0), 1, cameras(0.0))
    assert answer.tolist() == [BOTH, ONE, ONE, ONE, BOTH, UNSETTLED, UNSETTLED]


def test_relative_errors_of_a_slope() -> None:
    inverse = torch.linspace(0.2, 0.4, 100).expand(SIZE)
    pixels = torch.tensor([[10.5, 50.5], [11.0, 20.5]], dtype=torch.float64)
    truth = 1 / torch.stack([inverse[50, 10], (inverse[20, 10] + inverse[20, 11]) / 2]).double()
    assert float(relative_errors(1 / inverse, pixels, truth).max()) < 1e-5
    torch.testing.assert_close(
        relative_errors(1.1 / inverse, pixels, truth), torch.tensor([0.1, 0.1]).double(), atol=1e-5, rtol=0
    )


def test_edges_are_jumps_of_depth_and_the_border() -> None:
    depth = torch.full(SIZE, 2.0)
    depth[:, 50:] = 3.0
    pixels = torch.tensor(
        [[44.5, 50.5], [46.5, 50.5], [53.5, 50.5], [55.5, 50.5], [4.5, 50.5], [30.5, 95.5], [30.5, 90.5]]
    )
    assert near_edges(depth, pixels).tolist() == [False, True, True, False, True, True, False]
    slope = torch.linspace(2.0, 4.0, 100).expand(SIZE)
    assert not near_edges(slope, torch.tensor([[50.5, 50.5]])).any()


@pytest.fixture
def predicted() -> Tensor:
    """Depth maps of a wall at 4: 10 % too far in the first photograph, true in the second."""
    return torch.stack([torch.full(SIZE, 4.4), torch.full(SIZE, 4.0)])


def test_rows_hold_the_errors_of_both_photographs(predicted: Tensor) -> None:
    points = scene(
        (0.0, 0.0, 4.0, [0, 2]),  # both
        (-1.8, 0.0, 4.0, [0]),  # one: the second camera stands 1 to the right; 5 px from the first's border
        (-1.0, 1.0, 4.0, [0]),  # on the border of the second, not beyond it
        (2.5, 1.0, 4.0, [2]),  # one
        (0.5, -1.0, 4.0, [2]),  # unsettled: no other point around
        (0.0, 0.0, 4.0, [3]),  # of a frame that is no photograph of the case
    )
    rows = errors_by_row(points, (0, 2), cameras(0.0, 1.0), predicted)
    assert list(rows) == list(ROWS)
    counts = {name: len(errors) for name, errors in rows.items()}
    assert counts == dict(zip(ROWS, (6, 2, 2, 2, 2, 2, 0), strict=True))
    torch.testing.assert_close(rows["seen by both"], torch.tensor([0.1, 0.0]).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(rows["seen by one only"], torch.tensor([0.1, 0.0]).double(), atol=1e-6, rtol=0)


def test_figures_and_means_of_scenes() -> None:
    found = figures(torch.tensor([0.01, 0.04, 0.1, 0.2, 0.65], dtype=torch.float64))
    assert found == pytest.approx({"points": 5, "median": 0.1, "mean": 0.2, "within 5 %": 0.4, "within 25 %": 0.8})
    assert figures(torch.zeros(0)) == {"points": 0}
    mean = mean_of_scenes([found, figures(torch.tensor([0.3]).double())])
    assert mean == pytest.approx({"points": 6, "median": 0.2, "mean": 0.25, "within 5 %": 0.2, "within 25 %": 0.4})
    assert mean_of_scenes([]) == {"points": 0}
