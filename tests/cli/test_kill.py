"""Runs that are killed leave nothing half-made, earlier results stay, and the same command then succeeds."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.files.video import read_mp4
from tests.cli.conftest import Ended

Run = Callable[..., Ended]
Start = Callable[..., "subprocess.Popen[bytes]"]
Photos = tuple[Path, Path]


def start_and_stop(program: Start, stage: str, how: signal.Signals, *arguments: object) -> tuple[int, str]:
    """Start a run that hangs in a stage, send it a signal there, return its exit code and the rest of its stderr."""
    process = program(*arguments, env={**os.environ, "HANG_IN": stage})
    assert process.stderr is not None
    while (line := process.stderr.readline()) != f"hanging in {stage}\n".encode():
        assert line, "it ended without hanging"
    process.send_signal(how)
    _, err = process.communicate()
    return process.returncode, err.decode()


def visible(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize("stage", ["cameras", "prior", "render", "video"])
def test_a_killed_run_leaves_nothing_in_sight_and_the_next_succeeds(
    program: Start, videoscene: Run, photos: Photos, tmp_path: Path, stage: str
) -> None:
    folder = tmp_path / "results"
    command = ("generate", *photos, "-o", folder / "out.mp4", "--size", 64, "--frames", 2)
    assert start_and_stop(program, stage, signal.SIGKILL, *command)[0] == -signal.SIGKILL
    assert not folder.exists() or visible(folder) == set()
    assert videoscene(*command).code == 0
    assert set(os.listdir(folder)) == {"out.mp4", "out.mp4.json", "out.ply"}


def test_a_killed_chain_goes_on_where_it_stopped(
    program: Start, videoscene: Run, photos: Photos, tmp_path: Path
) -> None:
    command = ("generate", *photos, "-o", tmp_path / "s", "--size", 64, "--frames", 2)
    start_and_stop(program, "video", signal.SIGKILL, *command)
    assert visible(tmp_path / "s") == {"inputs", "prior"}
    made = (tmp_path / "s" / "prior" / "gaussians.ply").stat().st_mtime_ns
    assert videoscene(*command).code == 0
    assert set(os.listdir(tmp_path / "s")) == {"inputs", "prior", "render", "generate"}
    assert (tmp_path / "s" / "prior" / "gaussians.ply").stat().st_mtime_ns == made


def test_a_killed_replacement_keeps_the_earlier_result(
    program: Start, videoscene: Run, photos: Photos, tmp_path: Path
) -> None:
    command = ("generate", *photos, "-o", tmp_path / "out.mp4", "--size", 64)
    assert videoscene(*command, "--frames", 2).code == 0
    start_and_stop(program, "video", signal.SIGKILL, *command, "--frames", 3, "--force")
    assert len(read_mp4(tmp_path / "out.mp4")) == 2
    assert "up to date" in videoscene(*command, "--frames", 2).err


def test_a_killed_replacement_keeps_the_earlier_prior_and_its_photographs(
    program: Start, videoscene: Run, photos: Photos, tmp_path: Path
) -> None:
    scene = tmp_path / "s"
    assert videoscene("prior", *photos, "-o", scene, "--size", 64).code == 0
    start_and_stop(program, "ply", signal.SIGKILL, "prior", *reversed(photos), "-o", scene, "--size", 64, "--force")
    assert "up to date" in videoscene("prior", *photos, "-o", scene, "--size", 64).err
    assert videoscene("render", scene, "--frames", 2).code == 0
    assert videoscene("prior", *reversed(photos), "-o", scene, "--size", 64, "--force").code == 0
    assert not list(scene.glob(".*partial*"))


def test_killed_between_the_photographs_and_the_first_prior(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    command = ("prior", *photos, "-o", tmp_path / "s", "--size", 64)
    assert videoscene(*command).code == 0
    (tmp_path / "s" / "prior").rename(tmp_path / "s" / ".prior.partial-999999999-00000000")
    assert videoscene(*command).code == 0
    assert set(os.listdir(tmp_path / "s")) == {"inputs", "prior"}


def test_killed_between_the_video_and_its_manifest(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    command = ("generate", *photos, "-o", tmp_path / "out.mp4", "--size", 64, "--frames", 2)
    assert videoscene(*command).code == 0
    (tmp_path / "out.mp4.json").rename(tmp_path / ".out.mp4.json.partial-999999999-00000000")
    assert videoscene(*command).code == 0
    assert (tmp_path / "out.mp4.json").is_file()
    assert not list(tmp_path.glob(".*partial*"))


def test_what_a_run_left_that_was_killed_beside_the_one_that_finished_is_removed(
    videoscene: Run, photos: Photos, tmp_path: Path
) -> None:
    scene, killed = tmp_path / "s", "partial-999999999-00000000"
    command = ("generate", *photos, "-o", scene, "--size", 64, "--frames", 2, "--student", "none")
    assert videoscene(*command).code == 0
    for name in ("inputs", "prior", "render", "generate"):
        (scene / f".{name}.{killed}").mkdir()
        (scene / f".{name}.{killed}" / "0.png").touch()
    ended = videoscene(*command, "--dry-run")
    assert (ended.code, len(list(scene.glob(f".*.{killed}")))) == (0, 4), "--dry-run removes nothing"
    assert "up to date" in videoscene(*command).err
    assert set(os.listdir(scene)) == {"inputs", "prior", "render", "generate"}


def test_control_c_is_130_and_cleans_up(program: Start, photos: Photos, tmp_path: Path) -> None:
    command = ("generate", *photos, "-o", tmp_path / "results" / "out.mp4", "--size", 64, "--frames", 2)
    code, err = start_and_stop(program, "video", signal.SIGINT, *command)
    assert code == 130
    assert "Traceback" not in err
    assert "interrupted" in err
    assert os.listdir(tmp_path / "results") == []
