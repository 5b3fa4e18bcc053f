"""Without cameras: targets follow the estimated pair, and a pair without cameras counts as a crossfade."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stages.errors import RunError
from stages.evaluate import target_cameras, unposed
from stages.evaluate.cases import Task, load_task, read_cases
from stages.evaluate.target_cameras import align, place_targets, refine_pose
from stages.evaluate.unposed import pose_error, unpose
from stages.geometry import project
from stages.prior.epipolar import triangulate
from stages.scene import Cameras, Views
from tests.evaluate.conftest import wall_cameras
from videoscene_cli import app

Wall = Callable[..., Path]


@dataclass(frozen=True)
class Found:
    """What estimate_cameras returns, as far as it is used."""

    c2w: Tensor
    K: Tensor


def turned(poses: Tensor, scale: float = 2.5) -> Tensor:
    """Poses in another frame: turned about an axis, scaled, moved."""
    axis = torch.tensor([0.3, -0.5, 0.2], dtype=torch.float64)
    skew = torch.linalg.cross(axis.expand(3, 3), torch.eye(3, dtype=torch.float64)).T
    rotation = torch.matrix_exp(skew)
    moved = poses.clone()
    moved[:, :3, :3] = rotation @ poses[:, :3, :3]
    moved[:, :3, 3] = scale * poses[:, :3, 3] @ rotation.T + torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    return moved


def about_y(pose: Tensor, degrees: float) -> Tensor:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    pose = pose.clone()
    pose[:3, :3] = pose[:3, :3] @ torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]], dtype=torch.float64)
    return pose


def test_alignment_undoes_a_similarity() -> None:
    poses = torch.stack([about_y(pose, 7.0 * index) for index, pose in enumerate(wall_cameras(5).c2w)])
    torch.testing.assert_close(
        align(poses[[0, 4]], turned(poses)[[0, 4]], poses, torch.linspace(0, 1, 5)), turned(poses)
    )


def test_alignment_meets_both_ends_and_blends_between() -> None:
    true = wall_cameras(3).c2w
    pair = turned(true)[[0, 2]]
    pair[1] = about_y(pair[1], 4.0)
    pair[1, :3, 3] += torch.tensor([0.1, -0.2, 0.05])
    moved = align(true[[0, 2]], pair, true, torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(moved[[0, 2]], pair)
    assert pose_error(pair, moved[[0, 1]])["rotation error"] == pytest.approx(2.0)
    torch.testing.assert_close(moved[1, :3, 3], pair[:, :3, 3].mean(0))


def no_matches(images: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor]:
    return torch.zeros(0, 2, dtype=torch.float64), torch.zeros(0, 2, dtype=torch.float64)


def arc() -> Cameras:
    """Five cameras that turn while they move to the right and forward."""
    poses = torch.eye(4, dtype=torch.float64).repeat(5, 1, 1)
    for index, pose in enumerate(poses):
        pose[:3, 3] = torch.tensor([0.25 * index, 0.0, 0.1 * index])
    poses = torch.stack([about_y(pose, -3.0 * index) for index, pose in enumerate(poses)])
    K = torch.tensor([[300.0, 0, 192], [0, 300, 128], [0, 0, 1]], dtype=torch.float64)
    return Cameras(poses, K.repeat(5, 1, 1), (256, 384))


def points_before(count: int = 200) -> Tensor:
    """Points that the cameras of the arc see, at depths of 2 to 6."""
    line = torch.rand(count, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    z = 2 + 4 * line[:, 2:]
    return torch.cat([(line[:, :2] - 0.5) * torch.tensor([0.8, 0.5]) * z, z], 1) + torch.tensor([0.5, 0.0, 0.2])


def test_a_target_is_placed_where_it_sees_the_points_as_the_true_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimated focal length is wrong by a third, and the second camera is turned."""
    cameras, points = arc(), points_before()
    true, targets = cameras[[0, 4]], cameras[[1, 2, 3]]
    a, b = (project(points, true.K[k], true.c2w[k])[0] for k in (0, 1))
    monkeypatch.setattr(target_cameras, "fitting_matches", lambda images, cameras: (a, b))
    longer = torch.tensor([[4 / 3], [4 / 3], [1.0]], dtype=torch.float64)
    pair = true.c2w.clone()
    pair[1] = about_y(pair[1], 3.0)
    estimated = Cameras(pair, true.K * longer, true.size)
    images, times = torch.zeros(5, 3, *cameras.size), torch.tensor([0.25, 0.5, 0.75])
    task = Task(Views(images[:2], true), targets, images[2:], times)
    placed = place_targets(task, estimated, targets.K * longer)
    first = align(true.c2w, pair, targets.c2w, times.double())
    moved, _ = triangulate(a, b, estimated.c2w, estimated.K)

    def error(c2w: Tensor, t: int) -> float:
        seen = project(moved, placed.K[t], c2w)[0] - project(points, targets.K[t], targets.c2w[t])[0]
        return float(seen.norm(dim=1).median())

    for t in range(len(targets)):
        assert error(placed.c2w[t], t) < 0.6 * error(first[t], t)


def test_a_pose_is_refined_from_points_of_which_some_are_wrong() -> None:
    cameras, points = arc(), points_before()
    pixels, _ = project(points, cameras.K[1], cameras.c2w[1])
    pixels[::7] += 15
    start = about_y(cameras.c2w[1], 1.0)
    start[:3, 3] += torch.tensor([0.02, -0.01, 0.03])
    torch.testing.assert_close(refine_pose(start, cameras.K[1], points, pixels), cameras.c2w[1], atol=2e-3, rtol=0)


def test_pose_errors() -> None:
    true = wall_cameras(2).c2w
    assert pose_error(true, turned(true)) == {
        "rotation error": pytest.approx(0, abs=1e-5),
        "translation error": pytest.approx(0, abs=1e-5),
    }
    aside = true.clone()
    aside[1, 2, 3] = aside[1, 0, 3]
    assert pose_error(true, aside)["translation error"] == pytest.approx(45)


def test_a_task_without_cameras(wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    task = load_task(read_cases(wall())[1])
    pair = turned(task.context.cameras.c2w)
    monkeypatch.setattr(target_cameras, "fitting_matches", no_matches)
    monkeypatch.setattr(
        unposed,
        "estimate_cameras",
        lambda images: Found(pair, task.context.cameras.K * torch.tensor([[1.1], [1.1], [1.0]])),
    )
    other, facts = unpose(task)
    torch.testing.assert_close(other.cameras.c2w, turned(task.cameras.c2w))
    torch.testing.assert_close(other.cameras.K[0].diag(), task.cameras.K[0].diag() * torch.tensor([1.1, 1.1, 1.0]))
    torch.testing.assert_close(other.cameras.K[0, :2, 2], task.cameras.K[0, :2, 2] * 1.1)
    assert facts["focal ratio"] == pytest.approx(1.1)


def test_the_command(
    wall: Wall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scene, cameras, calls = wall(), wall_cameras(5), []

    def estimate(images: list[Tensor]) -> Found:
        calls.append(1)
        if len(calls) == 1:
            raise RunError("the two photographs do not overlap enough", "0 matches", "take others")
        return Found(turned(cameras.c2w)[[0, 4]], cameras.K[[0, 4]])

    monkeypatch.setattr(unposed, "estimate_cameras", estimate)
    monkeypatch.setattr(target_cameras, "fitting_matches", no_matches)
    near_far = torch.tensor([[1.5, 6.0]] * 2)
    monkeypatch.setattr("stages.prior.pose.matched_points", lambda images, given: torch.zeros(0, 3))
    monkeypatch.setattr(
        "stages.prior.pose.range_of_points",
        lambda points, given: (
            near_far
            * float((given.c2w[1] - given.c2w[0])[:3, 3].norm() / (cameras.c2w[4] - cameras.c2w[0])[:3, 3].norm())
        ),
    )
    out = tmp_path / "out"
    command = [
        "evaluate",
        "--two-view",
        str(scene),
        "--method",
        "crossfade",
        "--method",
        "plane-sweep",
        "--unposed",
        "-o",
        str(out),
    ]
    assert app.run([*command[:4], "crossfade", "--unposed", "-o", str(out)]) == 2
    assert "add a --method that uses cameras" in capsys.readouterr().err
    assert app.run(command) == 0
    assert "cameras found in 1 of 2" in capsys.readouterr().out
    metrics = json.loads((out / "metrics.json").read_text())
    records = {(case["method"], case["case"]): case for case in metrics["cases"]}
    assert list(metrics["summary"]) == ["crossfade", "plane-sweep", "plane-sweep-unposed"]
    lost, solved = (records["plane-sweep-unposed", f"wall-0000-000{last}"] for last in (2, 4))
    assert lost["cameras"]["found"] is False
    assert "0 matches" in lost["cameras"]["why"]
    assert lost["mean"] == records["crossfade", "wall-0000-0002"]["mean"]
    assert solved["mean"]["psnr"] == pytest.approx(records["plane-sweep", "wall-0000-0004"]["mean"]["psnr"], abs=0.1)
    cost = metrics["unposed"]["plane-sweep"]["all"]
    assert (cost["cases"], cost["found"], cost["not found"]) == (2, 1, ["wall-0000-0002"])
    assert cost["both"]["unposed"]["psnr"] == solved["mean"]["psnr"]
    assert cost["all"]["unposed"]["psnr"] == pytest.approx((solved["mean"]["psnr"] + lost["mean"]["psnr"]) / 2)
    monkeypatch.setattr("videoscene_cli.evaluation.jobs.run_case", lambda group: pytest.fail("it was done"))
    assert app.run(command) == 0
    assert app.run(["evaluate", "--report", str(out)]) == 0
    assert "| plane-sweep | medium | 0 of 1 |" in (out / "tables.md").read_text()
