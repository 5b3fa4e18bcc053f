"""Two sets of clips: what is compared, what is refused, what is not measured twice."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stages.errors import InputError
from stages.evaluate.clip_sets import compare_sets, find_clips, read_frames
from stages.files.images import write_png
from tests.evaluate.conftest import wall_images
from videoscene_cli import app
from videoscene_cli.evaluation import set_report

Run = Callable[..., tuple[int, list[str], str]]


class Probe:
    """Stands for I3D: its logits are the mean of each colour and the change over time."""

    def __init__(self, weights: object = None) -> None:
        pass

    def logits(self, clip: Tensor) -> Tensor:
        return torch.cat([clip.mean((0, 2, 3)), (clip[1:] - clip[:-1]).abs().mean()[None]])


def write_clip(folder: Path, frames: Tensor) -> None:
    for i, frame in enumerate(frames):
        write_png(folder / f"{i:04d}.png", frame)


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    """Three clips each of nine frames; the made ones are darker."""
    for k in range(3):
        frames = wall_images(12)[k : k + 9]
        write_clip(tmp_path / "real" / f"clip{k}", frames)
        write_clip(tmp_path / "fake" / f"clip{k}" / "frames", frames * 0.8)
    return tmp_path / "real", tmp_path / "fake"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setattr("stages.metrics.i3d.I3D", Probe)
    monkeypatch.setattr("stages.metrics.network_files.load", lambda name, folder, device: {})

    def run(*arguments: object) -> tuple[int, list[str], str]:
        code = app.run(["evaluate", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err

    return run


def test_distances_of_sets(sets: tuple[Path, Path], run: Run, tmp_path: Path) -> None:
    code, lines, err = run("--real", sets[0], "--fake", sets[1], "-o", tmp_path / "out")
    assert code == 0, err
    assert lines[0].startswith("3 real and 3 generated clips of 9 frames  fvd ")
    assert lines[1] == str(tmp_path / "out" / "metrics.json")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["sets"]["size"] == [64, 48]
    assert metrics["sets"]["fvd"] > 0.01
    assert metrics["sets"]["fake"]["clips"] == 3
    assert metrics["protocol"]["resize"]


def test_a_set_with_itself(sets: tuple[Path, Path], run: Run, tmp_path: Path) -> None:
    assert run("--real", sets[0], "--fake", sets[0], "-o", tmp_path / "out")[0] == 0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["sets"]["fvd"] == pytest.approx(0, abs=1e-6)


def test_clips_are_measured_once(
    sets: tuple[Path, Path], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("--real", sets[0], "--fake", sets[1], "-o", tmp_path / "out")
    assert run(*command)[0] == 0
    read = []
    monkeypatch.setattr(
        "stages.evaluate.clip_sets.read_frames", lambda clip: read.append(clip.name) or read_frames(clip)
    )
    write_png(sets[1] / "clip1" / "frames" / "0000.png", torch.zeros(3, 48, 64))
    assert run(*command)[0] == 0
    assert read == ["clip1"], "only the one that changed"


def test_a_bad_clip_does_not_stop_the_rest(sets: tuple[Path, Path], run: Run, tmp_path: Path) -> None:
    (sets[0] / "clip0" / "0003.png").write_bytes(b"not an image")
    code, lines, err = run("--real", sets[0], "--fake", sets[1], "-o", tmp_path / "out")
    assert code == 1
    assert lines[0].startswith("2 real and 3 generated")
    assert "real/clip0" in err


def test_no_clip_could_be_measured(sets: tuple[Path, Path], run: Run, tmp_path: Path) -> None:
    for clip in [*sets[0].iterdir(), *(sets[1] / f"clip{k}" / "frames" for k in range(3))]:
        (clip / "0003.png").write_bytes(b"not an image")
    code, lines, err = run("--real", sets[0], "--fake", sets[1], "-o", tmp_path / "out")
    assert (code, lines) == (1, [])
    assert "no clip of either set could be measured" in err


def test_a_dry_run_measures_nothing(sets: tuple[Path, Path], run: Run, tmp_path: Path) -> None:
    code, lines, err = run("--real", sets[0], "--fake", sets[1], "-o", tmp_path / "out", "--dry-run")
    assert (code, err) == (0, "")
    assert lines == ["real: 3 clips", "fake: 3 clips", f"out: {tmp_path / 'out'}"]
    assert not (tmp_path / "out").exists()


def test_clips_that_do_not_fit(sets: tuple[Path, Path], run: Run, tmp_path: Path) -> None:
    write_clip(sets[1] / "short", wall_images(10))
    code, _, err = run("--real", sets[0], "--fake", sets[1], "-o", tmp_path / "out")
    assert code == 2
    assert "real/clip0 9 of 64 x 48, fake/short 10 of 64 x 48" in err
    write_png(sets[0] / "clip0" / "0003.png", torch.zeros(3, 64, 64))
    with pytest.raises(InputError, match="2 sizes"):
        read_frames(sets[0] / "clip0")


def test_a_folder_without_clips(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither mp4 files nor folders of frames"):
        find_clips(tmp_path)
    clip = {"frames": 9, "size": [64, 48], "i3d": [0.0], "temporal flickering": 1.0, "mean flow": 0.0}
    with pytest.raises(InputError, match="1 and 1 clips"):
        compare_sets({"a": clip}, {"b": clip})


def test_usage(sets: tuple[Path, Path], run: Run, tmp_path: Path) -> None:
    assert run("--real", sets[0], "-o", tmp_path / "out")[0] == 2
    assert run("--real", sets[0], "--fake", sets[1])[0] == 2


def test_missing_weights(sets: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert set_report.folder_of_networks() == tmp_path / "cache" / "metrics"
    code = app.run(["evaluate", "--real", str(sets[0]), "--fake", str(sets[1]), "-o", str(tmp_path / "out")])
    assert code == 3
    assert "make metrics" in capsys.readouterr().err
