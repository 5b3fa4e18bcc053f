"""Names for results that the user did not name."""

from pathlib import Path

import pytest

from stages.files.file_hashes import FileHashes
from stages.reconstruct import STEPS, STEPS_OF_A_CLIP, STEPS_OF_A_PAIR
from videoscene_cli.reconstruction import inputs
from videoscene_cli.terminal.work_list import Work


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        ("room_0.png", "room_1.jpg", "room"),
        ("a/hall-1.png", "b/hall-2.png", "hall"),
        ("left.png", "right.png", "left-right"),
        ("IMG_1234.jpg", "IMG_1235.jpg", "IMG_1234-IMG_1235"),
        ("0.png", "1.png", "0-1"),
        ("_0.png", "_1.png", "_0-_1"),
    ],
)
def test_a_pair_is_called_after_its_photographs(first: str, second: str, name: str) -> None:
    assert Work((Path(first), Path(second)), None).name == name


def test_a_scene_keeps_its_name() -> None:
    assert Work((Path("some/room_0"),), None).name == "room_0"
    assert Work((Path("some/room.v2"),), None).name == "room.v2"


def test_the_folder_one_is_in_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Work((Path("."),), None).name == tmp_path.name


def test_a_video_gives_a_name_without_its_ending(tmp_path: Path) -> None:
    (tmp_path / "walk.mp4").write_bytes(b"")
    assert Work((tmp_path / "walk.mp4",), None).name == "walk"


@pytest.mark.parametrize(("student", "steps"), [(None, STEPS_OF_A_PAIR), ({"name": "small"}, STEPS_OF_A_CLIP)])
def test_a_repaired_clip_is_refined_longer(
    student: dict[str, str] | None, steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert inputs.default_steps(tmp_path, FileHashes()) == STEPS, "posed photographs"
    (tmp_path / "generate").mkdir()
    (tmp_path / "generate" / "manifest.json").touch()
    monkeypatch.setattr(inputs, "read_manifest", lambda *_: {"student": student})
    assert inputs.default_steps(tmp_path, FileHashes()) == steps
