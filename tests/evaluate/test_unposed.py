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
from stages.evaluate import unposed
from stages.evaluate.cases import load_task, read_cases
from stages.evaluate.unposed import align, pose_error, unpose
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
