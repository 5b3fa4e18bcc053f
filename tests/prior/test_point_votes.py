"""Matched points vote for the planes at their depths."""

import math

import pytest
import torch
from torch import Tensor

from stages.geometry import project
from stages.prior.config import SMALL, SMALL_WITHOUT_POINTS, PriorConfig
from stages.prior.monocular import MonocularOutput
from stages.prior.network import MVSplat
from stages.prior.plane_sweep import inverse_depths
from stages.prior.point_votes import AROUND, POSITION_ERROR, STEP, VOTE, WIDTH, point_votes

SIZE = (12, 16)
PLANES = 32


def cameras(move: tuple[float, float, float] = (0.5, 0.0, 0.0)) -> tuple[Tensor, Tensor]:
    """K in cells and c2w of two cameras, the second moved."""
    c2w = torch.eye(4).repeat(2, 1, 1)
    c2w[1, :3, 3] = torch.tensor(move)
    return torch.tensor([[14.0, 0, 8], [0, 14, 6], [0, 0, 1]]).repeat(2, 1, 1), c2w


def candidates() -> Tensor:
    return inverse_depths(torch.tensor([[1.0, 20.0]] * 2), PLANES, 8)


def slowly(points: Tensor, K: Tensor, c2w: Tensor, planes: Tensor) -> Tensor:
    """The same, point by point, cell by cell and plane by plane."""
    votes = torch.zeros(2, PLANES, *SIZE)
    for view in (0, 1):
        for point in points:
            (pixel,), (z,) = project(point[None], K[view], c2w[view])
            x, y = pixel.tolist()
            if not (z > 0 and 0 <= x < SIZE[1] and 0 <= y < SIZE[0]):
                continue
            centre = c2w[view, :3, 3]
            moved = centre + (point - centre) / (1 + STEP)
            shift = math.dist(*(project(p[None], K[1 - view], c2w[1 - view])[0][0].tolist() for p in (point, moved)))
            at = position(planes[view], float(1 / z))
            wrong = position(planes[view], float(1 / z) * (1 + STEP * POSITION_ERROR / max(shift, 1e-6)))
            width = max(wrong - at, WIDTH)
            for row in range(SIZE[0]):
                for column in range(SIZE[1]):
                    near = max(abs(row - int(y)), abs(column - int(x)))
                    if near <= 1:
                        for plane in range(PLANES):
                            vote = VOTE * WIDTH / width * math.exp(-0.5 * ((plane - at) / width) ** 2)
                            vote *= AROUND if near else 1
                            votes[view, plane, row, column] = max(float(votes[view, plane, row, column]), vote)
    return votes


def position(planes: Tensor, inverse: float) -> float:
    """Where an inverse depth lies among those of the planes."""
    if inverse <= planes[0]:
        return 0.0
    for k in range(1, len(planes)):
        low, high = float(planes[k - 1]), float(planes[k])
        if inverse <= high:
            return k - 1 + (inverse - low) / (high - low)
    return len(planes) - 1.0


@pytest.mark.parametrize("move", [(0.5, 0.0, 0.0), (0.1, 0.0, 1.0)])
def test_votes_are_those_of_the_slow_way(move: tuple[float, float, float]) -> None:
    g = torch.Generator().manual_seed(3)
    points = torch.rand(20, 3, generator=g) * torch.tensor([6.0, 5.0, 12.0]) - torch.tensor([3.0, 2.5, 1.0])
    K, c2w = cameras(move)
    found = point_votes(points, K, c2w, candidates(), SIZE)
    assert float(found.amax()) > 1
    torch.testing.assert_close(found, slowly(points, K, c2w, candidates()), atol=1e-3, rtol=1e-3)


def test_a_point_votes_for_its_depth_in_its_cell() -> None:
    K, c2w = cameras()
    votes = point_votes(torch.tensor([[0.3, 0.2, 4.0]]), K, c2w, candidates(), SIZE)
    for view in (0, 1):
        (x, y), z = (value[0] for value in project(torch.tensor([[0.3, 0.2, 4.0]]), K[view], c2w[view]))
        column = votes[view, :, int(y), int(x)]
        best = int(column.argmax())
        assert abs(float(candidates()[view, best]) - 1 / float(z)) < 0.03
        assert int((votes[view].amax(0) > 0.1).sum()) == 9


def test_a_point_that_hardly_moves_with_its_depth_votes_weakly() -> None:
    """The second camera is ahead of the first. A point straight ahead stays where it is, whatever its depth."""
    K, c2w = cameras((0.0, 0.0, 1.0))
    aside, ahead = (
        float(point_votes(torch.tensor([point]), K, c2w, candidates(), SIZE).amax())
        for point in ([2.0, 1.5, 4.0], [0.02, 0.02, 4.0])
    )
    assert ahead < 0.5 * aside


def test_points_behind_the_cameras_or_beside_the_pictures_do_not_vote() -> None:
    K, c2w = cameras()
    points = torch.tensor([[0.0, 0.0, -3.0], [50.0, 0.0, 4.0]])
    assert float(point_votes(points, K, c2w, candidates(), SIZE).abs().max()) == 0
    assert float(point_votes(torch.zeros(0, 3), K, c2w, candidates(), SIZE).abs().max()) == 0


@torch.no_grad()
def test_the_network_follows_the_points() -> None:
    """Two photographs of noise that have nothing in common: only the points say where the surface is."""
    torch.manual_seed(0)
    network = MVSplat(SMALL).eval()
    images = torch.rand(1, 2, 3, 64, 96)
    K = torch.tensor([[60.0, 0, 48], [0, 60, 32], [0, 0, 1]]).repeat(1, 2, 1, 1)
    c2w = torch.eye(4).repeat(1, 2, 1, 1)
    c2w[0, 1, 0, 3] = 1.5
    x, y = torch.meshgrid(torch.linspace(-1, 1, 24), torch.linspace(-0.7, 0.7, 16), indexing="xy")
    wall = torch.stack([3 * x, 3 * y, torch.full_like(x, 3.0)], -1).view(1, -1, 3)
    near_far = torch.tensor([[[1.0, 20.0]] * 2])
    without, told = (network(images, c2w, K, near_far, None, points).depth[0, 0, 8:-8, 8:-8] for points in (None, wall))
    assert float((told / 3 - 1).abs().median()) < 0.1
    assert float((without / 3 - 1).abs().median()) > 0.2


@torch.no_grad()
@pytest.mark.parametrize(("config", "reads"), [(SMALL, True), (SMALL_WITHOUT_POINTS, False)])
def test_layers_read_the_votes_where_the_network_has_channels_for_them(config: PriorConfig, reads: bool) -> None:
    """With the weight of all other inputs at 0, only a network that reads points gives another residual for a point."""
    torch.manual_seed(0)
    predictor = MVSplat(config).eval().depth_predictor
    for layer in (predictor.corr_refine_net[0], predictor.regressor_residual):
        layer.weight[:, : SMALL_WITHOUT_POINTS.match_channels] = 0
    for parameter in predictor.depth_head_lowres[-1].parameters():
        torch.nn.init.normal_(parameter)
    residuals = []
    predictor.depth_head_lowres.register_forward_hook(lambda _, __, out: residuals.append(out))
    images, features = torch.rand(1, 2, 3, 48, 64), torch.rand(1, 2, SMALL.feature_channels, *SIZE)
    assert SMALL.monocular is not None
    cells = torch.zeros(2, 1, *SIZE)
    monocular = MonocularOutput(cells, torch.zeros(2, SMALL.monocular.widths[-1], *SIZE), cells, cells + 1)
    K, c2w = cameras()
    planes = inverse_depths(torch.tensor([[1.0, 20.0]] * 2), SMALL.depth_candidates, SMALL.nearer_candidates)
    votes = point_votes(torch.tensor([[0.3, 0.2, 4.0]]), K, c2w, planes, SIZE)
    large = K * torch.tensor([[4.0], [4.0], [1.0]])
    for given in (votes, None):
        predictor.match(images, features, c2w[None], large[None], planes[None], monocular, given)
    assert bool((residuals[0] - residuals[1]).abs().amax() > 1e-3) == reads
