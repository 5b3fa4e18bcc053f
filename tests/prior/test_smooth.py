"""Depth is smooth where the photograph is, keeps slopes and edges, and stays where it is sure."""

import torch
from torch import Generator, Tensor

from stages.prior.smooth import ALIKE, STEEP, SURE, UNSURE, smooth_depth

SIZE, EDGE = (24, 36), 20
ALL = torch.ones(SIZE, dtype=torch.bool)


def photograph() -> Tensor:
    """Bright left of EDGE, dark right of it, [3, h, w]."""
    return torch.where(torch.arange(SIZE[1]) < EDGE, 0.9, 0.1).expand(3, *SIZE).clone()


def slope() -> Tensor:
    """The depth of level ground: a gentle slope from row to row."""
    return (0.01 * torch.arange(SIZE[0], dtype=torch.float32)).exp()[:, None].expand(SIZE).clone()


def solved_directly(depth: Tensor, image: Tensor, unsure: Tensor) -> Tensor:
    """The readable reference: the same least squares, pixel pair by pixel pair, as one dense system in float64."""
    (h, w), given, blurred = SIZE, depth.double().log(), image.double().clone()
    for row in range(h):
        for column in range(w):
            rows, columns = (
                [max(0, min(at + d, side - 1)) for d in (-1, 0, 1)] for at, side in ((row, h), (column, w))
            )
            blurred[:, row, column] = image.double()[:, rows][:, :, columns].mean((1, 2))
    number = torch.arange(h * w).view(h, w)
    data = torch.where(unsure, UNSURE, SURE).double().flatten()
    system, target = torch.diag(data), data * given.flatten()
    for row in range(h):
        for column in range(w):
            for below, right in ((0, 1), (1, 0)):
                if row + below == h or column + right == w:
                    continue
                here, there = (row, column), (row + below, column + right)
                apart = (blurred[:, *there] - blurred[:, *here]).abs().max()
                weight, step = torch.exp(-((apart / ALIKE) ** 2)), given[there] - given[here]
                step = step if step.abs() < STEEP else step.new_zeros(())
                a, b = int(number[here]), int(number[there])
                system[a, a] += weight
                system[b, b] += weight
                system[a, b] -= weight
                system[b, a] -= weight
                target[a] -= weight * step
                target[b] += weight * step
    solution = torch.linalg.solve(system, target).view(h, w).exp()
    return torch.where(unsure, solution, depth.double())


def test_it_solves_the_least_squares() -> None:
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


def test_a_jump_beside_an_edge_moves_to_it() -> None:
    depth = torch.where(torch.arange(SIZE[1]) < EDGE + 3, 1.0, 2.0).expand(SIZE).clone()
    smooth = smooth_depth(depth, photograph(), ALL)
    assert smooth[:, :EDGE].max() < 1.05
    assert smooth[:, EDGE + 1 :].min() > 1.5  # those on the edge keep theirs


def test_sure_depth_stays() -> None:
    depth = slope() * (0.1 * torch.randn(SIZE, generator=Generator().manual_seed(0))).exp()
    unsure = torch.rand(SIZE, generator=Generator().manual_seed(1)) < 0.5
    smooth = smooth_depth(depth, photograph(), unsure)
    assert torch.equal(smooth[~unsure], depth[~unsure])
    assert not torch.equal(smooth[unsure], depth[unsure])
