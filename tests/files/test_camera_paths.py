"""Camera paths of nerfstudio's viewer."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.errors import InputError
from stages.files.camera_paths import read_camera_path
from stages.files.transforms import write_transforms
from stages.scene import Cameras

DOCUMENT: dict[str, Any] = {
    "camera_type": "perspective",
    "render_height": 1080,
    "render_width": 1920,
    "fps": 24,
    "seconds": 4,
    "camera_path": [
        {"camera_to_world": [1, 0, 0, 0.5, 0, 1, 0, 0.25, 0, 0, 1, 2, 0, 0, 0, 1], "fov": 60, "aspect": 1},
        {"camera_to_world": [0, 0, 1, 3, 0, 1, 0, 0, -1, 0, 0, 0, 0, 0, 0, 1], "fov": 50, "aspect": 1},
    ],
}


def saved(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "camera_path.json"
    path.write_text(json.dumps(DOCUMENT | changes))
    return path


def test_a_saved_path_becomes_cameras(tmp_path: Path) -> None:
    cameras = read_camera_path(saved(tmp_path))
    assert cameras.size == (1080, 1920)
    assert cameras.c2w[:, :3, 3].tolist() == [[0.5, 0.25, 2], [3, 0, 0]]
    # OpenGL looks along -z. The second camera is turned by 90 degrees to the left, towards -x.
    assert cameras.c2w[:, :3, 2].tolist() == [[0, 0, -1], [-1, 0, 0]]
    assert float(cameras.K[0, 1, 1]) == pytest.approx(540 / math.tan(math.radians(30)))
    assert cameras.K[:, :2, 2].tolist() == [[960, 540]] * 2


def test_transforms_are_a_path_too(tmp_path: Path, cameras: Cameras) -> None:
    write_transforms(tmp_path / "t.json", cameras, [f"{k}.png" for k in range(5)])
    assert torch.equal(read_camera_path(tmp_path / "t.json").c2w, cameras.c2w)


@pytest.mark.parametrize(
    "changes",
    [
        {"camera_type": "fisheye"},
        {"camera_path": []},
        {"camera_path": [{"camera_to_world": [1] * 15, "fov": 50}]},
        {"camera_path": [{"camera_to_world": ["a"] * 16, "fov": 50}]},
        {"camera_path": [{"camera_to_world": [2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1], "fov": 50}]},
        {"camera_path": [{**DOCUMENT["camera_path"][0], "fov": 0}]},
        {"render_width": None},
    ],
)
def test_a_malformed_path_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"camera_path\.json"):
        read_camera_path(saved(tmp_path, **changes))
