"""Paths between two photographs with something in the way: over a sofa, past a pillar, not through a closed door."""

from dataclasses import replace

import pytest
import torch

from stages.scene import Cameras
from stages.trajectory import interpolate
from stages.walk import Walk, walk
from tests.walk.worlds import DOOR, PILLAR, SOFA, WALL, Box, looking_along_y, photographed


def walked(
    boxes: list[Box], start: tuple[float, float, float], end: tuple[float, float, float]
) -> tuple[Cameras, Walk]:
    """The straight path of 49 cameras through a room with these boxes, and what became of it."""
    cameras = looking_along_y(start, end)
    line = interpolate(*cameras.c2w, *cameras.K, cameras.size, 49)
    return line, walk(line, photographed(boxes, cameras)[0], cameras, bend=True)


def inside(positions: torch.Tensor, boxes: list[Box]) -> torch.Tensor:
    """Whether each of the positions [N, 3] is in one of the boxes, [N]."""
    within = [((positions - torch.tensor(centre)).abs() <= torch.tensor(half)).all(1) for centre, half in boxes]
    return torch.stack(within).any(0)


@pytest.mark.parametrize(
    ("boxes", "height", "direction"),
    [(SOFA, 0.5, "up"), (PILLAR, 1.5, "left")],
    ids=["over a sofa", "past a pillar"],
)
def test_a_path_is_bent_around_what_is_in_its_way(boxes: list[Box], height: float, direction: str) -> None:
    line, made = walked(boxes, (0, -2, height), (0, 2, height))
    assert inside(line.c2w[:, :3, 3], boxes).any()
    assert made.blocked
    assert made.direction == direction
    bent = made.cameras.c2w[:, :3, 3]
    assert not inside(bent, boxes).any()
    assert (made.clearance >= made.needed).all()
    # The push is the one that is said, and is smooth: no step changes it much.
    push = bent - line.c2w[:, :3, 3]
    assert float(push.norm(dim=1).max()) == pytest.approx(made.bend * made.depth, rel=0.02)
    assert float(push.diff(dim=0).norm(dim=1).max()) < 0.15 * float(push.norm(dim=1).max())
    # The photographs keep their cameras, and all cameras look where they looked.
    assert torch.equal(made.cameras.c2w[[0, -1]], line.c2w[[0, -1]])
    assert torch.equal(made.cameras.c2w[:, :3, :3], line.c2w[:, :3, :3])
    assert torch.equal(made.cameras.K, line.K)


def test_a_closed_door_between_two_rooms_has_no_way_around() -> None:
    line, made = walked(WALL + DOOR, (0, -2, 1.4), (0, 1.5, 1.4))
    assert made.cameras is line
    assert made.bend == 0
    assert set(made.blocked) <= set(range(23, 30))  # the door is crossed in frame 26
    assert made.obstacle == pytest.approx((0, 0.5, 0.5), abs=0.02)  # the middle of the first photograph


def test_an_open_door_is_walked_through() -> None:
    line, made = walked(WALL, (0, -2, 1.4), (0, 1.5, 1.4))
    assert made.cameras is line
    assert made.blocked == []
    assert made.obstacle is None


def test_a_path_beside_an_open_door_is_bent_through_it() -> None:
    _, made = walked(WALL, (-0.9, -2, 1.4), (-0.9, 1.5, 1.4))
    assert made.direction == "right"
    assert not inside(made.cameras.c2w[:, :3, 3], WALL).any()
    assert inside(made.cameras.c2w[:, :3, 3], [((0, 0, 1), (0.45, 0.2, 1))]).any()


def test_a_path_with_nothing_in_its_way_stays_to_the_last_bit() -> None:
    line, made = walked([], (0.3, -2, 1.2), (-0.3, 1.5, 1.5))
    assert made.cameras is line
    assert made.blocked == []
    assert len(made.clearance) == 49


def test_few_frames_do_not_jump_over_a_door() -> None:
    cameras = looking_along_y((0, -2, 1.4), (0, 1.5, 1.4))
    line = interpolate(*cameras.c2w, *cameras.K, cameras.size, 4)
    made = walk(line, photographed(WALL + DOOR, cameras)[0], cameras, bend=True)
    assert made.blocked == [1]


def test_a_path_that_is_only_measured_is_not_bent() -> None:
    cameras = looking_along_y((0, -2, 0.5), (0, 2, 0.5))
    line = interpolate(*cameras.c2w, *cameras.K, cameras.size, 9)
    made = walk(line, photographed(SOFA, cameras)[0], cameras, bend=False)
    assert made.cameras is line
    assert made.blocked


def test_photographs_taken_close_to_a_surface_need_less_clearance() -> None:
    """A path to a camera 7 cm beside a wall that the first photograph shows."""
    line, made = walked([], (0, -2, 1.4), (1.93, 1.5, 1.4))
    assert made.clearance[-1] < 0.06
    assert made.needed < made.clearance[-1]
    assert made.cameras is line


def test_a_bend_is_measured_where_it_is_unknown_which_photograph_shows_what() -> None:
    cameras = looking_along_y((0, -2, 0.5), (0, 2, 0.5))
    line = interpolate(*cameras.c2w, *cameras.K, cameras.size, 49)
    gaussians = replace(photographed(SOFA, cameras)[0], photograph=None)
    made = walk(line, gaussians, cameras, bend=True)
    assert made.bend > 0
    assert made.obstacle is None
