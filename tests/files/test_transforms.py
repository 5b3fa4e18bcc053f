import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from stages.errors import InputError
from stages.files.transforms import read_transforms, write_transforms
from stages.scene import Cameras

NAMES = [f"frames/{i:04d}.png" for i in range(5)]
POSE = [[1, 0, 0, 1], [0, 1, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]


def written(path: Path, frame: dict[str, Any] | None = None, **top: Any) -> Path:
    """A transforms.json of one frame with keys added, changed, or (None) removed."""
    document = {
        "camera_model": "OPENCV",
        "w": 64,
        "h": 48,
        "fl_x": 50.0,
        "fl_y": 51.0,
        "cx": 31.0,
        "cy": 23.0,
        "k1": 0.0,
    }
    document["frames"] = [{"file_path": "a.png", "transform_matrix": POSE} | (frame or {})]
    path.write_text(json.dumps({key: value for key, value in (document | top).items() if value is not None}))
    return path


def test_round_trip_is_exact(tmp_path: Path, cameras: Cameras) -> None:
    """Every bit of a float64, with intrinsics of each frame."""
    write_transforms(tmp_path / "t.json", cameras, NAMES)
    again, names = read_transforms(tmp_path / "t.json")
    assert names == NAMES
    assert again.size == cameras.size
    assert torch.equal(again.c2w, cameras.c2w)
    assert torch.equal(again.K, cameras.K)


def test_shared_intrinsics_and_extra_keys_are_at_the_top(tmp_path: Path, shared_cameras: Cameras) -> None:
    write_transforms(tmp_path / "t.json", shared_cameras, NAMES, {"fps": 8.0})
    document = json.loads((tmp_path / "t.json").read_text())
    assert document["fps"] == 8.0
    assert document["w"] == 64
    assert document["h"] == 48
    assert document["fl_x"] == shared_cameras.K[0, 0, 0].item()
    assert set(document["frames"][0]) == {"file_path", "transform_matrix"}
    again, _ = read_transforms(tmp_path / "t.json")
    assert torch.equal(again.c2w.float(), shared_cameras.c2w)
    assert torch.equal(again.K.float(), shared_cameras.K)


def test_axes_are_opengl(tmp_path: Path) -> None:
    """A camera at (1, 2, 3) that looks along world z with y down is, for nerfstudio, turned half around x."""
    c2w = torch.eye(4)[None].clone()
    c2w[0, :3, 3] = torch.tensor([1.0, 2.0, 3.0])
    K = torch.tensor([[[50.0, 0, 32], [0, 50, 24], [0, 0, 1]]])
    write_transforms(tmp_path / "t.json", Cameras(c2w, K, (48, 64)), ["a.png"])
    matrix = json.loads((tmp_path / "t.json").read_text())["frames"][0]["transform_matrix"]
    assert matrix == [[1, 0, 0, 1], [0, -1, 0, 2], [0, 0, -1, 3], [0, 0, 0, 1]]
    assert "-0.0" not in (tmp_path / "t.json").read_text()


def test_real_files_survive_unchanged(tmp_path: Path, posed_scenes: list[Path]) -> None:
    for path in posed_scenes:
        cameras, names = read_transforms(path)
        assert len(names) == len(cameras)
        assert (path.parent / names[0]).is_file()
        write_transforms(tmp_path / "t.json", cameras, names)
        before, after = json.loads(path.read_text()), json.loads((tmp_path / "t.json").read_text())
        for key in ("w", "h", "fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2", "camera_model"):
            assert after[key] == before[key]
        for old, new in zip(before["frames"], after["frames"], strict=True):
            assert old["file_path"] == new["file_path"]
            assert torch.equal(torch.tensor(old["transform_matrix"]), torch.tensor(new["transform_matrix"]))


def test_optional_keys(tmp_path: Path) -> None:
    def intrinsics(**keys: Any) -> list[float]:
        K = read_transforms(written(tmp_path / "t.json", **keys))[0].K[0]
        return [K[0, 0].item(), K[1, 1].item(), K[0, 2].item(), K[1, 2].item()]

    assert intrinsics() == [50, 51, 31, 23]
    assert intrinsics(fl_y=None) == [50, 50, 31, 23]
    assert intrinsics(cx=None, cy=None, camera_model=None) == [50, 51, 32, 24]
    assert intrinsics(fl_x=None, fl_y=None, camera_angle_x=math.pi / 2) == pytest.approx([32, 32, 31, 23])
    assert intrinsics(fl_x=None, fl_y=None, camera_angle_x=math.pi / 2, camera_angle_y=math.pi / 2) == pytest.approx(
        [32, 24, 31, 23]
    )
    assert intrinsics(frame={"fl_x": 70.0, "cy": 20.0}) == [70, 51, 31, 20]
    assert read_transforms(written(tmp_path / "t.json", {"transform_matrix": POSE[:3]}))[0].c2w[0, 2, 3] == 3


@pytest.mark.parametrize(
    ("frame", "top", "why"),
    [
        ({}, {"frames": []}, "no list of frames"),
        ({}, {"frames": None}, "no list of frames"),
        ({}, {"frames": [1]}, "no list of frames"),
        ({"file_path": None}, {}, "no file_path"),
        ({"transform_matrix": None}, {}, "not 4 x 4"),
        ({"transform_matrix": [[1, 2], [3, 4]]}, {}, "not 4 x 4"),
        ({"transform_matrix": [[1, 0, 0, "a"], *POSE[1:]]}, {}, "not a number"),
        ({"transform_matrix": [*POSE[:3], [0, 0, 0.1, 1]]}, {}, "0 0 0 1"),
        ({"transform_matrix": [[2, 0, 0, 0], *POSE[1:]]}, {}, "not a rotation"),
        ({"transform_matrix": [[-1, 0, 0, 0], *POSE[1:]]}, {}, "not a rotation"),
        ({"transform_matrix": [[1, 0, 0, float("nan")], *POSE[1:]]}, {}, "NaN"),
        ({"transform_matrix": [[1, 0, 0, float("inf")], *POSE[1:]]}, {}, "Infinity"),
        ({"transform_matrix": [[1, 0, 0, 10**400], *POSE[1:]]}, {}, "not a finite number"),
        ({"k1": 0.1}, {}, "distortion (k1)"),
        ({}, {"p2": 0.1}, "distortion (p2)"),
        ({}, {"camera_model": "OPENCV_FISHEYE"}, "OPENCV_FISHEYE"),
        ({}, {"fl_x": None}, "no fl_x"),
        ({}, {"fl_x": 0}, "focal length"),
        ({}, {"fl_x": True}, "not a number"),
        ({}, {"w": None}, "no w"),
        ({}, {"w": 10.5}, "pixels"),
        ({}, {"h": -4}, "pixels"),
        ({}, {"fl_x": None, "camera_angle_x": 7.0}, "camera_angle_x"),
    ],
)
def test_refuses_malformed_files(tmp_path: Path, frame: dict[str, Any], top: dict[str, Any], why: str) -> None:
    path = written(tmp_path / "t.json", frame, **top)
    if "frames" in top and top["frames"] is None:
        path.write_text("{}")
    with pytest.raises(InputError) as caught:
        read_transforms(path)
    assert why in caught.value.why
    assert str(path) in caught.value.what
    assert "\n" not in caught.value.why


def test_refuses_frames_of_several_sizes(tmp_path: Path) -> None:
    frames = [{"file_path": "a", "transform_matrix": POSE, "w": 64 + i} for i in range(2)]
    with pytest.raises(InputError, match="2 different sizes"):
        read_transforms(written(tmp_path / "t.json", frames=frames))


@pytest.mark.parametrize("text", ["", "[1, 2]", "null", "{", "\x00\xff", "[" * 100_000, '{"w": ' + "9" * 5000 + "}"])
def test_refuses_what_is_no_such_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError):
        read_transforms(tmp_path / "t.json")


def test_refuses_skew_which_the_format_cannot_state(tmp_path: Path) -> None:
    K = torch.tensor([[[50.0, 1, 32], [0, 50, 24], [0, 0, 1]]])
    with pytest.raises(InputError, match="skew"):
        write_transforms(tmp_path / "t.json", Cameras(torch.eye(4)[None], K, (48, 64)), ["a.png"])
    with pytest.raises(ValueError, match="2 paths for 1"):
        write_transforms(
            tmp_path / "t.json", Cameras(torch.eye(4)[None], torch.eye(3)[None], (48, 64)), ["a.png", "b.png"]
        )


@pytest.mark.parametrize("name", ["images\\0.png", ".\\images\\0", "./images/0", "images/0.png"])
def test_paths_of_other_tools_name_the_file_that_exists(tmp_path: Path, name: str) -> None:
    """Backslashes of Windows, and paths without endings as in NeRF's synthetic scenes."""
    (tmp_path / "images").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "images" / "0.png")
    _, names = read_transforms(written(tmp_path / "t.json", {"file_path": name}))
    assert (tmp_path / names[0]).resolve() == tmp_path / "images" / "0.png"


def test_a_path_without_an_ending_and_without_a_file_stays(tmp_path: Path) -> None:
    assert read_transforms(written(tmp_path / "t.json", {"file_path": "a\\b"}))[1] == ["a/b"]


def test_a_size_that_is_left_out_is_that_of_the_image_as_it_is_shown(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.new("RGB", (40, 60)).save(tmp_path / "a.png", exif=exif)
    cameras, _ = read_transforms(
        written(tmp_path / "t.json", w=None, h=None, fl_x=None, fl_y=None, cx=None, cy=None, camera_angle_x=1.2)
    )
    assert cameras.size == (40, 60)
    assert cameras.K[0].tolist() == [
        [pytest.approx(30 / math.tan(0.6)), 0, 30],
        [0, pytest.approx(30 / math.tan(0.6)), 20],
        [0, 0, 1],
    ]


def test_a_size_that_no_image_tells_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no w and h, and its image cannot be read"):
        read_transforms(written(tmp_path / "t.json", w=None, h=None))


def test_a_fisheye_lens_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fisheye"):
        read_transforms(written(tmp_path / "t.json", is_fisheye=True))
    assert len(read_transforms(written(tmp_path / "t.json", is_fisheye=False))[0]) == 1


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_changes_nothing(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path / "t.json")
    path.write_text(path.read_text(), encoding=encoding)
    assert len(read_transforms(path)[0]) == 1
