"""Depth is smooth where the photograph is, keeps slopes and edges, and stays where it is sure."""

from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from stages.prior.smooth import ALIKE, JUMP, SLOPE, STEEP, SURE, UNKNOWN, UNSURE, smooth_depth

SIZE, EDGE = (24, 36), 20
ALL = torch.ones(SIZE, dtype=torch.bool)


def photograph() -> Tensor:
    """Bright left of EDGE, dark right of it, [3, h, w]."""
    return torch.where(torch.arange(SIZE[1]) < EDGE, 0.9, 0.1).expand(3, *SIZE).clone()


def slope() -> Tensor:
    """The depth of level ground: a plane, with a gentle slope from row to row."""
    return (1 / (1 - 0.008 * torch.arange(SIZE[0], dtype=torch.float32)))[:, None].expand(SIZE).clone()


def solved_directly(depth: Tensor, image: Tensor, unsure: Tensor) -> Tensor:
    """The readable reference: the same two least squares, pixel pair by pixel pair, as dense systems in float64."""
    (h, w), depth, image, blurred = SIZE, depth.double(), image.double(), image.double().clone()
    for row in range(h):
        for column in range(w):
            rows, columns = around(row, h, 1), around(column, w, 1)
            blurred[:, row, column] = image[:, rows][:, :, columns].mean((1, 2))
    pairs = [
        ((row, column), (row + down, column + right))
        for row in range(h)
        for column in range(w)
        for down, right in ((0, 1), (1, 0))
        if row + down < h and column + right < w
    ]
    log, inverse = depth.log(), 1 / depth
    weight, slope_sum, slope_count = {}, torch.zeros(2, h, w).double(), torch.zeros(2, h, w).double()
    for here, there in pairs:
        down, right = there[0] - here[0], there[1] - here[1]
        earlier = (max(0, here[0] - down), max(0, here[1] - right))
        later = (min(h - 1, there[0] + down), min(w - 1, there[1] + right))
        apart, jump = (blurred[:, *there] - blurred[:, *here]).abs().max(), log[later] - log[earlier]
        weight[here, there] = torch.exp(-((apart / ALIKE) ** 2) - (jump / JUMP) ** 2)
        if (log[there] - log[here]).abs() < STEEP:
            for pixel in (here, there):
                slope_sum[down, *pixel] += inverse[there] - inverse[here]
                slope_count[down, *pixel] += 1
    given = slope_sum / slope_count.clamp_min(1)
    slopes = [
        least_squares(
            SLOPE * slope_count[axis] / 2 + UNKNOWN, given[axis], [(*pair, x, 0.0) for pair, x in weight.items()]
        )
        for axis in (0, 1)
    ]
    links = []
    for (here, there), alike in weight.items():
        slope = slopes[there[0] - here[0]]
        relative = (depth[here] ** 2 + depth[there] ** 2) / 2
        links.append((here, there, alike * relative, (slope[here] + slope[there]) / 2))
    data = torch.where(unsure, UNSURE, SURE).double() * depth**2
    return torch.where(unsure, 1 / least_squares(data, inverse, links), depth)


def around(at: int, side: int, reach: int) -> list[int]:
    return [max(0, min(at + d, side - 1)) for d in range(-reach, reach + 1)]


def least_squares(data: Tensor, given: Tensor, links: list[tuple[Any, Any, Any, Any]]) -> Tensor:
    """The map x [h, w] with the least sum of data (x - given)^2 and of weight (x[there] - x[here] - step)^2.

    links: here, there, weight, step.
    """
    number = torch.arange(given.numel()).view(given.shape)
    system, target = torch.diag(data.flatten()), (data * given).flatten()
    for here, there, weight, step in links:
        a, b = int(number[here]), int(number[there])
        system[a, a] += weight
        system[b, b] += weight
        system[a, b] -= weight
        system[b, a] -= weight
        target[a] -= weight * step
        target[b] += weight * step
    return torch.linalg.solve(system, target).view(given.shape)


def test_it_solves_the_least_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.prior.smooth.SLOPE_STEPS", 400)  # at work, slopes need not be so exact
    g = Generator().manual_seed(0)
    image = (photograph() + 0.02 * torch.randn(3, *SIZE, generator=g)).clamp(0, 1)
    depth = slope() * (0.05 * torch.randn(SIZE, generator=g)).exp()
    unsure = torch.rand(SIZE, generator=g) < 0.9
    torch.testing.assert_close(
        smooth_depth(depth, image, unsure), solved_directly(depth, image, unsure).float(), rtol=1e-3, atol=0
    )


def test_a_patch_on_a_bare_surface_goes() -> None:
    depth = slope()
    depth[8:14, 6:12] *= 0.7
    smooth = smooth_depth(depth, photograph(), ALL)
    assert (smooth / slope() - 1).abs()[8:14, 6:12].max() < 0.15
    assert (smooth[8:14, 6:12] / smooth[8:14, 0:6]).mean() > 0.93


def test_a_slope_stays() -> None:
    torch.testing.assert_close(smooth_depth(slope(), photograph(), ALL), slope(), rtol=1e-4, atol=0)


def test_a_jump_at_an_edge_of_the_photograph_stays() -> None:
    depth = torch.where(torch.arange(SIZE[1]) < EDGE, 1.0, 2.0).expand(SIZE).clone()
    torch.testing.assert_close(smooth_depth(depth, photograph(), ALL), depth, rtol=1e-4, atol=0)


def test_a_small_jump_beside_an_edge_moves_to_it() -> None:
    depth = torch.where(torch.arange(SIZE[1]) < EDGE + 3, 1.0, 1.06).expand(SIZE).clone()
    smooth = smooth_depth(depth, photograph(), ALL)
    assert smooth[:, :EDGE].max() < 1.01
    assert smooth[:, EDGE + 1 :].min() > 1.035  # those on the edge keep theirs


def test_a_large_jump_stays_though_the_photograph_has_no_edge() -> None:
    depth = torch.where(torch.arange(SIZE[1]) < EDGE - 8, 1.0, 2.0).expand(SIZE).clone()
    torch.testing.assert_close(smooth_depth(depth, photograph(), ALL), depth, rtol=1e-3, atol=0)


def test_slopes_that_waver_become_a_plane() -> None:
    wavy = slope() * (1 + 0.01 * torch.sin(torch.arange(SIZE[1]) / 3.0))
    smooth = smooth_depth(wavy, photograph(), ALL)
    for part in (slice(0, EDGE - 1), slice(EDGE + 1, None)):
        bent = [(1 / depth)[:, part].diff(n=2, dim=1).abs().mean() for depth in (wavy, smooth)]
        assert bent[1] < 0.2 * bent[0]


def test_sure_depth_stays() -> None:
    depth = slope() * (0.1 * torch.randn(SIZE, generator=Generator().manual_seed(0))).exp()
    unsure = torch.rand(SIZE, generator=Generator().manual_seed(1)) < 0.5
    smooth = smooth_depth(depth, photograph(), unsure)
    assert torch.equal(smooth[~unsure], depth[~unsure])
    assert not torch.equal(smooth[unsure], depth[unsure])
