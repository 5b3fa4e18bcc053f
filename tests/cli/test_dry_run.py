"""--dry-run: the plan of a run, without any change on the disk."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ended

Run = Callable[..., Ended]
Photos = tuple[Path, Path]
SHORT = ("--size", 64, "--frames", 3)


@pytest.mark.parametrize("target", ["new.mp4", "new"])
def test_dry_run_prints_the_plan_and_does_nothing(videoscene: Run, photos: Photos, tmp_path: Path, target: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    ended = videoscene("generate", *photos, "-o", tmp_path / target, *SHORT, "--dry-run")
    assert (ended.code, ended.err) == (0, "")
    for word in ("96x64", "frames 3", "path interp", "sha256", target, "to be made", "memory"):
        assert word in ended.out
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    plan = json.loads(videoscene("generate", *photos, "-o", tmp_path / target, *SHORT, "--dry-run", "--json").out)
    assert plan["sizes"] == {"first": "96x64", "second": "96x64", "used": "96x64"}


def test_dry_run_knows_what_is_up_to_date(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    scene = tmp_path / "scene"
    assert videoscene("generate", *photos, "-o", scene, *SHORT).code == 0
    assert "up to date" in videoscene("prior", *photos, "-o", scene, "--size", 64, "--dry-run").out
    assert "up to date" in videoscene("render", scene, "--frames", 3, "--dry-run").out
    assert "up to date" in videoscene("generate", scene, "--dry-run").out


def test_dry_run_does_not_touch_a_manifest(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    video = tmp_path / "out.mp4"
    assert videoscene("generate", *photos, "-o", video, *SHORT).code == 0
    before = video.with_name("out.mp4.json").stat().st_mtime_ns
    assert "state: up to date" in videoscene("generate", *photos, "-o", video, *SHORT, "--dry-run").out
    assert video.with_name("out.mp4.json").stat().st_mtime_ns == before
