"""--student: what is missing is said before any work, with exit code 3; what cannot be, with 2."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from stages.errors import DeviceError
from stages.files.transforms import write_transforms
from stages.scene import Cameras
from tests.cli.conftest import Ended
from videoscene_cli.models import video_student

Run = Callable[..., Ended]
Photos = tuple[Path, Path]


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("cogvideox-5b", "no such folder"),
        ("nowhere", "no such folder"),
        ("empty", "model.safetensors"),
        ("bare", "prompt_embeds"),
    ],
)
def test_missing_files_are_named(
    videoscene: Run, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, missing: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare" / "transformer").mkdir(parents=True)
    monkeypatch.setenv("VIDEOSCENE_CACHE", str(tmp_path / "cache"))
    student, out = (name if name == "cogvideox-5b" else tmp_path / name), tmp_path / "out.mp4"
    ended = videoscene("generate", *photos, "-o", out, "--student", student)
    assert ended.code == 3
    assert missing in ended.err
    assert len(ended.err.strip().splitlines()) == 3
    assert not out.exists()


@pytest.mark.parametrize("option", ["--leap", "--steps"])
def test_without_a_student_its_options_are_refused(
    videoscene: Run, photos: Photos, tmp_path: Path, option: str
) -> None:
    ended = videoscene("generate", *photos, "-o", tmp_path / "out.mp4", "--student", "none", option, 4)
    assert ended.code == 2
    assert f"{option} does nothing without a student" in ended.err


def test_memory_is_for_cogvideox(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    ended = videoscene("generate", *photos, "-o", tmp_path / "out.mp4", "--memory", "tiled")
    assert ended.code == 2
    assert "--memory does nothing to small" in ended.err


@pytest.mark.parametrize(("mode", "hint"), [("full", "--memory offload"), ("stream", "--student small")])
def test_a_lack_of_gpu_memory_names_the_next_mode(mode: str, hint: str) -> None:
    """A smaller --size would not help: the network's size is fixed."""
    student = object.__new__(video_student._CogVideoX)
    student.memory = mode
    with pytest.raises(DeviceError) as raised, student._memory_hint():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 14.7 GiB.\nMore")
    assert hint in raised.value.hint
    assert "14.7 GiB" in raised.value.why


def test_the_leap_is_a_step_of_the_schedule(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    assert videoscene("generate", *photos, "-o", tmp_path / "out.mp4", "--leap", 1000).code == 2
    assert not (tmp_path / "out.mp4").exists()


def test_the_frames_of_a_path_from_a_file_are_counted_before_any_work(
    videoscene: Run, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.video.cogvideox_files.find_files", lambda folder, hub: SimpleNamespace(paths=list))
    monkeypatch.setattr("stages.pipeline.render_parts", lambda *_: pytest.fail("work was done"))
    path = tmp_path / "path.json"
    cameras = Cameras(
        torch.eye(4).repeat(3, 1, 1), torch.tensor([[9.0, 0, 8], [0, 9, 8], [0, 0, 1]]).repeat(3, 1, 1), (16, 16)
    )
    write_transforms(path, cameras, ["0", "1", "2"])
    ended = videoscene(
        "generate", *photos, "-o", tmp_path / "out.mp4", "--student", tmp_path, "--path", path, "--dry-run"
    )
    assert ended.code == 2
    assert "it takes 49 frames, the clip has 3" in ended.err
    ended = videoscene("generate", *photos, "-o", tmp_path / "out.mp4", "--student", tmp_path, "--frames", 5)
    assert "the clip has 5" in ended.err
