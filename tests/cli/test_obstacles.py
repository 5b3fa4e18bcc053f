"""What `render` says and does when something is in the way of the camera path."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.files.transforms import read_transforms
from stages.prior.predict import Prediction
from stages.prior.prepare import Prepared
from stages.scene import Views
from stages.trajectory import interpolate
from tests.cli.conftest import Ended
from tests.walk.worlds import DOOR, SOFA, WALL, Box, looking_along_y, photographed

Run = Callable[..., Ended]
Photos = tuple[Path, Path]
SHORT = ("--frames", 9)


@pytest.fixture
def scene_with(
    videoscene: Run, monkeypatch: pytest.MonkeyPatch, photos: Photos, tmp_path: Path
) -> Callable[[list[Box], float], Path]:
    """Make the scene of two photographs of a room with boxes in it, taken at a height in metres."""

    def make(boxes: list[Box], height: float) -> Path:
        cameras = looking_along_y((0, -2, height), (0, 2, height))
        gaussians, depth = photographed(boxes, cameras)
        near_far = torch.tensor([[0.1, 10.0]] * 2)
        views = Views(torch.full((2, 3, *cameras.size), 0.5), cameras)
        prepared = Prepared(views, near_far, {"cameras": "of the room"})
        monkeypatch.setattr("stages.pipeline.prepare", lambda *_: prepared)
        monkeypatch.setattr("stages.pipeline.predict", lambda *_: Prediction(gaussians, depth, near_far))
        scene = tmp_path / "scene"
        assert videoscene("prior", *photos, "-o", scene).code == 0
        return scene

    return make


def clearance_of(scene: Path) -> dict[str, Any]:
    return json.loads((scene / "render" / "manifest.json").read_text())["clearance"]  # type: ignore[no-any-return]


def is_straight(scene: Path) -> bool:
    ends, _ = read_transforms(scene / "prior" / "transforms.json")
    made, _ = read_transforms(scene / "render" / "transforms.json")
    line = interpolate(*ends.c2w, *ends.K, ends.size, len(made))
    return bool((made.c2w - line.c2w).abs().max() < 1e-6)


def test_a_path_through_a_closed_door_is_kept_with_a_warning(
    videoscene: Run, scene_with: Callable[[list[Box], float], Path]
) -> None:
    scene = scene_with(WALL + DOOR, 1.4)
    ended = videoscene("render", scene, *SHORT, "-q")
    assert ended.code == 0
    assert ended.err.startswith("warning: the camera path leads through what the first photograph shows at 50% of its")
    assert "no way around it was found" in ended.err
    facts = clearance_of(scene)
    assert facts["blocked frames"]
    assert facts["frame"] in facts["blocked frames"]
    assert facts["least"] < facts["needed"]
    assert facts["bend"] == 0
    assert facts["obstacle"] == {"photograph": 0, "place": pytest.approx([0.5, 0.5], abs=0.03)}
    assert is_straight(scene)


def test_frames_say_how_much_of_the_picture_the_door_fills(
    videoscene: Run, scene_with: Callable[[list[Box], float], Path]
) -> None:
    scene = scene_with(WALL + DOOR, 1.4)
    ended = videoscene("render", scene, "--frames", 49)
    facts = clearance_of(scene)
    assert facts["fills"]["share"] > 0.9
    assert f"it fills {facts['fills']['share']:.0%} of frame {facts['fills']['frame']}" in ended.err


def test_a_path_over_a_sofa_is_bent_and_straight_keeps_the_line(
    videoscene: Run, scene_with: Callable[[list[Box], float], Path], tmp_path: Path
) -> None:
    scene = scene_with(SOFA, 0.5)
    ended = videoscene("render", scene, *SHORT)
    assert "bent up around it by 15% of the scene's depth (--path straight keeps it)" in ended.err
    assert "warning" not in ended.err
    facts = clearance_of(scene)
    assert (facts["bend"], facts["direction"]) == (0.15, "up")
    assert facts["least"] >= facts["needed"]
    assert not is_straight(scene)

    kept = tmp_path / "kept"
    ended = videoscene("render", scene, *SHORT, "--path", "straight", "-o", kept)
    assert ended.err.startswith("warning: the camera path leads through")
    assert "no way" not in ended.err
    assert clearance_of(kept)["bend"] == 0
    assert is_straight(kept)


def test_nothing_is_said_where_nothing_is_in_the_way(
    videoscene: Run, scene_with: Callable[[list[Box], float], Path]
) -> None:
    scene = scene_with([], 1.4)
    ended = videoscene("render", scene, *SHORT)
    assert (ended.code, ended.err) == (0, "")
    assert set(clearance_of(scene)) == {"least", "frame", "needed", "blocked frames", "bend"}
    assert is_straight(scene)
