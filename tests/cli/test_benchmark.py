"""`evaluate --benchmark`: every stage is timed, and the file says on what machine."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.reconstruct import STEPS_OF_A_CLIP
from videoscene_cli import app
from videoscene_cli.evaluation import benchmark
from videoscene_cli.evaluation.methods import Setup
from videoscene_cli.terminal.options import Shared

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ROOM = [EXAMPLES / "room_0.jpg", EXAMPLES / "room_1.jpg"]


def test_every_stage_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def here(function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    monkeypatch.setattr(benchmark, "in_new_process", here)
    monkeypatch.setattr(benchmark, "WARM", 1)
    setup = Setup(Shared(out=str(tmp_path), device="cpu"))
    benchmark.benchmark(ROOM, tmp_path, setup, setup.session(), benchmark.Workload(size=64, frames=3, steps=2))
    found = json.loads((tmp_path / "benchmark.json").read_text())
    assert list(found["stages"]) == ["cameras", "prior", "render", "write the video", "reconstruct"], (
        "there is no student to time"
    )
    assert all(stage["warm"] > 0 and stage["cold"] > 0 for stage in found["stages"].values())
    assert found["total"]["warm"] == pytest.approx(sum(stage["warm"] for stage in found["stages"].values()), abs=0.01)
    assert found["total"]["peak_memory_bytes"] > 10 * 2**20
    assert found["machine"]["versions"]["torch"]
    assert found["machine"]["cores"] >= 1
    assert len(capsys.readouterr().out.splitlines()) == 7
    assert app.run(["evaluate", "--report", str(tmp_path)]) == 0
    page = (tmp_path / "benchmark.md").read_text()
    assert "| VideoScene | quoted | n/a | 2.98 | 49 |" in page
    assert "| two photographs to a video | ours |" in page
    assert "| DDPNet | quoted | 0.02 |" in page
    assert (tmp_path / "tables" / "table7-benchmark.csv").is_file()


def test_a_stage_runs_in_a_process_of_its_own() -> None:
    import os

    assert benchmark.in_new_process(os.getpid) != os.getpid()


@pytest.mark.parametrize(("arguments", "told"), [(["a.png"], "takes two"), (["a.png", "b.png", "c.png"], "takes two")])
def test_bad_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    assert app.run(["evaluate", "--benchmark", *arguments, "-o", str(tmp_path / "out")]) == 2
    assert told in capsys.readouterr().err
    assert app.run(["evaluate", "--benchmark", *arguments]) == 2
    assert not (tmp_path / "out").exists()


def test_the_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["evaluate", "--benchmark", *map(str, ROOM), "-o", str(tmp_path / "out"), "--dry-run"]) == 0
    assert "reconstruct" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_it_refines_as_long_as_a_repaired_clip_is_refined() -> None:
    assert benchmark.Workload().steps == STEPS_OF_A_CLIP
