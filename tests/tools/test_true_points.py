"""Points triangulated from a rendered world, of which the depth is known exactly."""

from pathlib import Path

import pytest
import torch

from stages.evaluate.cases import read_cases
from stages.files.images import write_png
from stages.geometry import project
from stages.scene import Cameras
from tests.tools import true_points
from tests.tools.conftest import World, write_scene
from tests.tools.depth_at_points import BOTH, ONE, relative_errors, sight
from tests.tools.true_points import TruePoints, cached_points, keep_good, triangulated_points


@pytest.fixture(scope="module")
def points(world: World) -> TruePoints:
    return triangulated_points(world.scene, read_cases(world.scene))


def test_points_lie_on_the_surfaces_of_the_world(world: World, points: TruePoints) -> None:
    assert world.views.depth is not None
    cameras = world.views.cameras.to(torch.float64)
    for view in (0, 1):
        shown = points.of_frame(view)
        pixels, z = project(points.xyz[shown], cameras.K[view], cameras.c2w[view])
        error = relative_errors(world.views.depth[view], pixels, z)
        assert len(shown) > 100
        assert float(error.median()) < 0.01
        assert float((error < 0.05).double().mean()) > 0.9


def test_who_sees_a_point_agrees_with_exact_depth(world: World, points: TruePoints) -> None:
    assert world.views.depth is not None
    cameras = world.views.cameras.to(torch.float64)
    h, w = cameras.size
    right = {BOTH: 0, ONE: 0}
    told = {BOTH: 0, ONE: 0}
    for view, other in ((0, 1), (1, 0)):
        shown = points.of_frame(view)
        answer = sight(points, shown, other, cameras[[other]])
        pixels, z = project(points.xyz[shown], cameras.K[other], cameras.c2w[other])
        x, y = pixels.unbind(1)
        inside = (z > 0) & (x >= 0) & (x < w) & (y >= 0) & (y < h)
        visible = inside & (z < 1.05 * world.views.depth[other][y.long().clamp(0, h - 1), x.long().clamp(0, w - 1)])
        for kind, truth in ((BOTH, visible), (ONE, ~visible)):
            told[kind] += int((answer == kind).sum())
            right[kind] += int((truth & (answer == kind)).sum())
    assert min(told.values()) > 20
    assert all(right[kind] > 0.9 * told[kind] for kind in told)


def test_the_same_scene_gives_the_same_points(world: World, points: TruePoints) -> None:
    again = triangulated_points(world.scene, read_cases(world.scene))
    assert torch.equal(again.xyz, points.xyz)
    assert torch.equal(again.seen, points.seen)


def test_points_are_kept_until_a_picture_changes(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, kept = tmp_path / "scene", tmp_path / "points"
    write_scene(scene, world.views)
    made = [TruePoints(torch.full((1, 3), float(k), dtype=torch.float64), torch.tensor([[0, k]])) for k in (1, 2)]
    monkeypatch.setattr(true_points, "triangulated_points", lambda scene, cases: made.pop(0))
    for _ in range(2):
        points = cached_points(scene, read_cases(scene), kept)
        assert points.xyz.tolist() == [[1, 1, 1]]
        assert points.seen.tolist() == [[0, 1]]
    write_png(scene / "images" / "0002.png", 1 - world.views.images[2])
    assert cached_points(scene, read_cases(scene), kept).xyz.tolist() == [[2, 2, 2]]
    assert made == []


def test_points_need_three_frames_a_small_error_and_an_angle() -> None:
    c2w = torch.eye(4, dtype=torch.float64).repeat(4, 1, 1)
    c2w[:, 0, 3] = torch.tensor([0.0, 0.1, 0.2, 0.3])
    K = torch.tensor([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]], dtype=torch.float64).repeat(4, 1, 1)
    cameras = Cameras(c2w, K, (100, 100))
    near, far = [0.0, 0.0, 2.0], [0.0, 0.0, 20.0]  # 0.2 of a baseline are 5.7 degrees, and 0.6
    xyz = torch.tensor([far, near, near, near], dtype=torch.float64)

    def observed(point: int, frames: list[int], miss: dict[int, float] | None = None) -> list[list[float]]:
        places = [project(xyz[[point]], K[frame], c2w[frame])[0][0] for frame in frames]
        return [
            [point, frame, float(at[0]) + (miss or {}).get(frame, 0.0), float(at[1])]
            for frame, at in zip(frames, places, strict=True)
        ]

    rows = [
        *observed(0, [0, 1, 2]),
        *observed(1, [0, 1]),
        *observed(2, [0, 1, 2, 3], {3: 1.5}),
        *observed(3, [0, 1, 2], {1: 1.5}),
    ]
    rows += observed(2, [1], {1: 0.5})  # a second feature of the same point in the same frame
    found = keep_good(xyz, torch.tensor(rows, dtype=torch.float64), cameras)
    assert found.xyz.tolist() == [near]
    assert found.seen.tolist() == [[0, 0], [0, 1], [0, 2]]
    assert found.of_frame(3).tolist() == []
