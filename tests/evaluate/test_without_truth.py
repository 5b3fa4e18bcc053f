"""Scenes without a truth: figures of a wall whose depth, motion and matches are known, and the files of the command."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stages.evaluate.without_truth import match_clip, measure_scene
from stages.geometry import project, unproject
from stages.scene import Clip, Gaussians, Views, colours_to_sh
from tests.evaluate.conftest import DEPTH, SIZE, wall_cameras, wall_images
from videoscene_cli import app
from videoscene_cli.results.manifest import Record, Request

COUNT = 9


@dataclass(frozen=True)
class Matches:
    points_a: Tensor
    points_b: Tensor


def true_matches(image_a: Tensor, image_b: Tensor) -> Matches:
    """Points of the wall in both images; which frames they are is read off the images."""
    frames = wall_images(COUNT)
    i, j = (int((frames - image).abs().sum((1, 2, 3)).argmin()) for image in (image_a, image_b))
    cameras = wall_cameras(COUNT)
    grid = torch.cartesian_prod(torch.linspace(-0.2, 1.2, 8), torch.linspace(-0.9, 0.9, 6)).double()
    points = torch.cat([grid, torch.full((len(grid), 1), DEPTH, dtype=torch.float64)], 1)
    return Matches(*(project(points, cameras.K[k], cameras.c2w[k])[0] for k in (i, j)))


@pytest.fixture
def clip() -> Clip:
    return Clip(wall_images(COUNT), wall_cameras(COUNT), torch.full((COUNT, *SIZE), 0.8))


@pytest.fixture
def views(clip: Clip) -> Views:
    return Views(clip.frames[[0, -1]], clip.cameras[[0, COUNT - 1]])


def wall_gaussians(depth: float) -> Gaussians:
    cameras, image = wall_cameras(COUNT), wall_images(COUNT)[4]
    means = unproject(torch.full((1, *SIZE), depth).double(), cameras.K[4:5], cameras.c2w[4:5]).reshape(-1, 3).float()
    scales = torch.full_like(means, 0.6 * depth / 60)
    quats = torch.tensor([1.0, 0, 0, 0]).repeat(len(means), 1)
    return Gaussians(means, scales, quats, torch.full((len(means),), 0.95), colours_to_sh(image.flatten(1).T))


def test_figures_of_a_rigid_clip(clip: Clip, views: Views) -> None:
    pairs = match_clip(clip, true_matches)
    assert [pair.frames for pair in pairs] == [(0, 1), (1, 3), (3, 4), (4, 5), (5, 7), (7, 8), (0, 8)]
    measured = measure_scene(clip, views, wall_gaussians(DEPTH * 1.1), wall_gaussians(DEPTH), pairs)
    scene = measured["scene"]
    assert [photograph["frame"] for photograph in scene["photographs"]] == [0, 8]
    assert scene["photographs"][0]["psnr"] is None or scene["photographs"][0]["psnr"] > 50
    assert scene["matches"] == 7 * 48
    assert scene["verified"] == 1
    assert scene["epipolar error"] < 1e-6
    assert scene["depth difference"] == pytest.approx(1 - 1 / 1.1, abs=0.01), "the prior is a tenth too far"
    assert scene["re-render psnr"] > 15
    assert scene["coverage"] == pytest.approx(0.8)
    assert scene["mean flow"] == pytest.approx(3, abs=0.3)
    assert 0.8 < scene["temporal flickering"] < 1
    assert scene["aesthetic quality"] == "n/a"
    assert len(measured["frames"]["mean flow"]) == COUNT - 1
    json.dumps(measured, allow_nan=False)


def test_a_clip_that_is_not_rigid(clip: Clip, views: Views) -> None:
    def slipping(image_a: Tensor, image_b: Tensor) -> Matches:
        matches = true_matches(image_a, image_b)
        return Matches(matches.points_a, matches.points_b + torch.tensor([0.0, 5.0]))

    scene = measure_scene(clip, views, wall_gaussians(DEPTH), None, match_clip(clip, slipping))["scene"]
    assert scene["verified"] == 0
    assert scene["epipolar error"] == pytest.approx(5, abs=0.1)
    assert scene["depth difference"] is None
    assert scene["re-render psnr"] == "n/a"


def test_a_clip_without_matches_away_from_the_photographs(clip: Clip, views: Views) -> None:
    away = Clip(clip.frames[2:4], clip.cameras[[2, 3]])
    pairs = match_clip(away, lambda a, b: Matches(torch.empty(0, 2), torch.empty(0, 2)))
    scene = measure_scene(away, views, None, None, pairs)["scene"]
    assert scene["photographs"] == [None, None]
    assert scene["verified"] is None
    assert scene["matches"] == 0
    assert scene["depth difference"] == scene["coverage"] == "n/a"


def test_frames_from_one_place_are_not_matched(clip: Clip, views: Views) -> None:
    """The ends of a closed path; a camera that only turns."""
    there_and_back = [*range(COUNT), *range(COUNT - 2, -1, -1)]
    closed = Clip(clip.frames[there_and_back], clip.cameras[there_and_back])
    pairs = match_clip(closed, true_matches)
    assert len(pairs) == 6
    assert (0, len(there_and_back) - 1) not in [pair.frames for pair in pairs]
    still = Clip(clip.frames[[3, 3, 3]], clip.cameras[[3, 3, 3]])
    measured = measure_scene(still, views, wall_gaussians(DEPTH), None, match_clip(still, true_matches))
    assert measured["scene"]["matches"] == 0
    assert measured["scene"]["epipolar error"] is None
    json.dumps(measured, allow_nan=False)


@pytest.fixture
def finished(tmp_path: Path, clip: Clip, views: Views) -> Path:
    """A scene folder with the stages that the command reads."""
    from stages.files.clip_folder import write_clip, write_views
    from stages.files.ply import write_ply
    from stages.files.stored_clip import StoredClip

    scene = tmp_path / "scene"
    write_views(scene / "prior", views)
    gaussians = wall_gaussians(DEPTH)
    of_the_first = torch.zeros(len(gaussians), dtype=torch.uint8)
    write_ply(scene / "prior" / "gaussians.ply", replace(gaussians, photograph=of_the_first), [])
    write_clip(scene / "render", StoredClip.of(clip))
    prior = {"gaussians": scene / "prior" / "gaussians.ply", "cameras": scene / "prior" / "transforms.json"}
    facts: dict[str, dict[str, Any]] = {"prior": {}, "render": {}}
    for stage, inputs in (("prior", {}), ("render", prior)):
        files = {str(path.relative_to(scene / stage)): path for path in (scene / stage).rglob("*") if path.is_file()}
        Record(facts=facts[stage]).write_manifest(scene / stage / "manifest.json", Request(stage, {}, inputs), files)
    return scene


@pytest.fixture
def evaluate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, list[str], str]]:
    from stages.prior import matching

    monkeypatch.setattr(matching, "load_matcher", lambda device: true_matches)

    def run(*arguments: object) -> tuple[int, list[str], str]:
        code = app.run(["evaluate", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err

    return run


def test_the_command(finished: Path, evaluate: Callable[..., tuple[int, list[str], str]]) -> None:
    code, lines, err = evaluate(finished)
    assert code == 0, err
    assert lines[0].split()[:2] == ["scene", "render"]
    assert lines[1] == str(finished / "evaluate" / "metrics.json")
    assert {path.name for path in (finished / "evaluate").iterdir()} == {
        "metrics.json",
        "manifest.json",
        "matches-render.png",
    }
    document = json.loads((finished / "evaluate" / "metrics.json").read_text())
    assert set(document) == {"protocol", "scene", "frames"}
    assert document["scene"]["render"]["verified"] == 1
    before = (finished / "evaluate" / "metrics.json").stat().st_mtime_ns
    code, again, err = evaluate(finished)
    assert (code, again) == (0, lines)
    assert "up to date" in err
    assert (finished / "evaluate" / "metrics.json").stat().st_mtime_ns == before
    touched = (finished / "evaluate" / "manifest.json").stat().st_mtime_ns
    assert evaluate(finished, "--dry-run")[0] == 0
    assert (finished / "evaluate" / "manifest.json").stat().st_mtime_ns == touched


def test_the_report_follows_the_scene(
    finished: Path, clip: Clip, evaluate: Callable[..., tuple[int, list[str], str]]
) -> None:
    from stages.files.clip_folder import write_clip
    from stages.files.stored_clip import StoredClip

    assert evaluate(finished)[0] == 0
    write_clip(finished / "generate", StoredClip.of(clip))
    made = json.loads((finished / "render" / "manifest.json").read_text())["fingerprint"]
    files = {
        str(path.relative_to(finished / "generate")): path
        for path in (finished / "generate").rglob("*")
        if path.is_file()
    }
    request = Request("generate", {"render": made}, {})
    Record().write_manifest(finished / "generate" / "manifest.json", request, files)
    code, lines, err = evaluate(finished)
    assert code == 0, err
    assert [line.split()[1] for line in lines[:2]] == ["render", "generate"]


def test_a_scene_that_is_not_finished(
    finished: Path, evaluate: Callable[..., tuple[int, list[str], str]], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    code, lines, err = evaluate(tmp_path / "nothing", tmp_path / "empty", finished, "-o", tmp_path / "out")
    assert code == 1
    assert "there is no such folder" in err
    assert "neither a finished render nor a finished generate" in err
    assert lines[-1] == str(tmp_path / "out" / "scene" / "metrics.json"), "the other scene is measured"
    (finished / "render" / "frames" / "0003.png").unlink()
    code, _, err = evaluate(finished, "--force")
    assert code == 2
    assert "0003.png" in err
    assert len(err.splitlines()) == 3
