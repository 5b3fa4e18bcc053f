"""Cameras of an unposed pair: the demo pair has true ones; pairs without baseline or overlap are refused."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from stages.errors import RunError
from stages.files.images import fit, read_image
from stages.files.transforms import read_transforms
from stages.geometry import rays, resize_intrinsics
from stages.prior.pose import estimate_cameras, match_views
from stages.scene import Cameras, Views
from stages.worlds.motion import intrinsics

EXAMPLES = Path(__file__).parents[2] / "examples"
SIZE = (480, 720)


@pytest.fixture(scope="module")
def photos() -> tuple[Tensor, Tensor]:
    first, second = (fit(read_image(EXAMPLES / f"room_{k}.jpg"), torch.eye(3), min(SIZE))[0] for k in (0, 1))
    return first, second


@pytest.fixture(scope="module")
def truth() -> Cameras:
    """The cameras that the demo pair was rendered from."""
    cameras, _ = read_transforms(EXAMPLES / "transforms.json")
    return Cameras(cameras.c2w, resize_intrinsics(cameras.K, cameras.size, SIZE), SIZE)


def _degrees(cosine: Tensor) -> float:
    return float(torch.rad2deg(torch.acos(cosine.clamp(-1, 1))))


def _errors(found: Tensor, true: Tensor) -> tuple[float, float]:
    """Angles in degrees between rotations and between directions of translation. found, true: c2w [2, 4, 4]."""
    a, b = (torch.linalg.inv(c2w[0].double()) @ c2w[1].double() for c2w in (found, true))
    rotation = _degrees(((a[:3, :3].T @ b[:3, :3]).trace() - 1) / 2)
    return rotation, _degrees(F.cosine_similarity(a[:3, 3], b[:3, 3], dim=0))


def test_the_demo_pair_is_solved_with_and_without_its_focal_length(
    photos: tuple[Tensor, Tensor], truth: Cameras
) -> None:
    for K in (truth.K, None):
        found = estimate_cameras(photos, K=K)
        rotation, translation = _errors(found.c2w, truth.c2w)
        assert rotation < 2
        assert translation < 10
        assert found.focal_source == ("given" if K is not None else "matches")
        assert bool((found.near_far[:, 0] > 0).all())
        assert bool((found.near_far[:, 1] > found.near_far[:, 0]).all())
    assert abs(float(found.K[0, 0, 0] / truth.K[0, 0, 0]) - 1) < 0.2


def test_the_same_photographs_give_the_same_cameras(photos: tuple[Tensor, Tensor]) -> None:
    first, second = estimate_cameras(photos), estimate_cameras(photos)
    assert torch.equal(first.c2w, second.c2w)
    assert torch.equal(first.K, second.K)


def test_the_range_of_given_cameras_holds_the_scene(photos: tuple[Tensor, Tensor], truth: Cameras) -> None:
    near, far = match_views(Views(torch.stack(photos), truth))[1][0].tolist()
    assert 0.3 < near < far


def test_a_turn_on_the_spot_is_refused(photos: tuple[Tensor, Tensor]) -> None:
    """The first photograph as a camera sees it that only turned by 8 degrees."""
    K = intrinsics(1.0, SIZE)
    angle = torch.deg2rad(torch.tensor(8.0))
    turn = torch.tensor([[angle.cos(), 0, angle.sin()], [0, 1, 0], [-angle.sin(), 0, angle.cos()]])
    seen = rays(K, SIZE) @ turn.T @ K.T
    grid = seen[..., :2] / seen[..., 2:] / torch.tensor([SIZE[1], SIZE[0]]) * 2 - 1
    turned = F.grid_sample(photos[0][None], grid[None], align_corners=False, padding_mode="border")[0]
    with pytest.raises(RunError):
        estimate_cameras((photos[0], turned))


def test_nothing_in_common_is_refused_with_the_number_of_matches(photos: tuple[Tensor, Tensor]) -> None:
    noise = torch.rand(3, *SIZE, generator=Generator().manual_seed(0))
    with pytest.raises(RunError, match=r"\d+ match"):
        estimate_cameras((photos[0], noise))


@pytest.mark.parametrize("shift", [(0.4, 0.0, 0.0), (0.2, 0.05, 0.5), (0.3, 0.0, 0.6)])
def test_a_single_wall_is_solved(photos: tuple[Tensor, Tensor], shift: tuple[float, float, float]) -> None:
    """The first photograph as a wall that stands at a slant, from a second place.

    A motion towards the wall, but not along its normal, has two solutions: a homography does not tell the normal from
    the motion (Faugeras and Lustman 1988).
    """
    K = intrinsics(1.0, SIZE)
    c2w = torch.eye(4)
    c2w[:3, 3] = torch.tensor(shift)
    normal, origin, directions = F.normalize(torch.tensor([0.5, 0.0, 1.0]), dim=0), c2w[:3, 3], rays(K, SIZE)
    points = origin + directions * ((3.0 - origin @ normal) / (directions @ normal))[..., None]
    seen = points @ K.T
    grid = seen[..., :2] / seen[..., 2:] / torch.tensor([SIZE[1], SIZE[0]]) * 2 - 1
    moved = F.grid_sample(photos[0][None], grid[None], align_corners=False, padding_mode="border")[0]
    rotation, translation = _errors(
        estimate_cameras((photos[0], moved), K=torch.stack([K, K])).c2w, torch.stack([torch.eye(4), c2w])
    )
    assert rotation < 2
    assert translation < 10


@pytest.mark.parametrize(("turns", "back"), [(1, "90 degrees to the right"), (2, "180 degrees")])
def test_a_turned_photograph_is_refused_with_the_turn_that_mends_it(
    photos: tuple[Tensor, Tensor], turns: int, back: str
) -> None:
    with pytest.raises(RunError, match="turned") as refused:
        estimate_cameras((photos[0], torch.rot90(photos[1], turns, (1, 2))))
    assert f"turn the second photograph by {back}" in refused.value.hint


def test_a_mirrored_photograph_is_refused(photos: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(RunError, match="mirrored"):
        estimate_cameras((photos[0], photos[1].flip(-1)))


def test_a_square_cut_of_one_photograph_does_not_change_the_pose(photos: tuple[Tensor, Tensor], truth: Cameras) -> None:
    h, w = SIZE
    square = photos[0][:, :, (w - h) // 2 : (w + h) // 2]
    rotation, translation = _errors(estimate_cameras((square, photos[1])).c2w, truth.c2w)
    assert rotation < 3
    assert translation < 15
