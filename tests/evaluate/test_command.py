"""`videoscene evaluate --two-view`: what it prints and writes, what it survives."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from videoscene_cli import app
from videoscene_cli.evaluation import jobs

Wall = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[2]
# The program, killed in the middle of its third case.
DIES = """
import os, signal, sys
from stages.evaluate import protocol
from videoscene_cli import app
compare, calls = protocol.compare, []
def dying(*arguments):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return compare(*arguments)
protocol.compare = dying
sys.exit(app.run(sys.argv[1:]))
"""
# The program, whose workers are killed at one of the cases.
KILLS_A_WORKER = """
import os, signal, sys
from stages.evaluate import protocol
from videoscene_cli import app
compare = protocol.compare
def dying(case, *arguments):
    if case.name == "a-0000-0004":
        os.kill(os.getpid(), signal.SIGKILL)
    return compare(case, *arguments)
protocol.compare = dying
if __name__ == "__main__":
    sys.exit(app.run(sys.argv[1:]))
"""


class Ended(NamedTuple):
    code: int
    lines: list[str]
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> Ended:
        capsys.readouterr()
        code = app.run(["evaluate", *map(str, arguments)])
        captured = capsys.readouterr()
        return Ended(code, captured.out.splitlines(), captured.err)

    return run


def test_prints_every_case_the_means_and_the_result(wall: Wall, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "report"
    ended = run("--two-view", wall("b").parent, wall("a"), "--method", "crossfade", "--method", "nearest", "-o", out)
    assert ended.code == 2, "a comes twice"
    ended = run("--two-view", wall("a"), wall("b"), "--method", "crossfade", "--method", "nearest", "-o", out)
    assert ended.code == 0, ended.err
    assert len(ended.lines) == 8 + 6 + 1
    assert sum(line.startswith("a-0000-0004") for line in ended.lines) == 2
    assert [line.split()[:6] for line in ended.lines[8:14]] == [
        ["mean", "of", cases, "cases", kind, method]
        for method in ("crossfade", "nearest")
        for cases, kind in (("2", "medium"), ("2", "wide"), ("4", "all"))
    ]
    assert ended.lines[-1] == str(out / "metrics.json")
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["protocol"]["name"] == "two-view"
    assert metrics["failed"] == {}
    assert len(metrics["cases"]) == 8
    figures = [
        case["mean"]["psnr"] for case in metrics["cases"] if case["method"] == "nearest" and case["kind"] == "wide"
    ]
    assert metrics["summary"]["nearest"]["wide"]["mean"]["psnr"] == pytest.approx(sum(figures) / 2)
    assert (out / "manifest.json").exists()


def test_json_lines(wall: Wall, run: Run, tmp_path: Path) -> None:
    ended = run("--two-view", wall(), "--method", "nearest", "-o", tmp_path / "report", "--json")
    records = [json.loads(line) for line in ended.lines]
    assert [record.get("case") for record in records] == ["wall-0000-0002", "wall-0000-0004", None, None, None, None]
    assert records[2]["cases"] == 1
    assert records[-1]["path"] == str(tmp_path / "report" / "metrics.json")


def test_done_cases_are_not_done_again(wall: Wall, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("--two-view", wall(), "--method", "crossfade", "-o", tmp_path / "report")
    first = run(*command)
    monkeypatch.setattr(jobs, "run_case", lambda group: pytest.fail("it was done"))
    assert run(*command).lines == first.lines
    assert run(*command, "--dry-run").lines[-2:] == ["done: 2", f"out: {tmp_path / 'report'}"]


def test_another_request_in_the_same_place(wall: Wall, run: Run, tmp_path: Path) -> None:
    scene = wall()
    command = ("--two-view", scene, "--method", "crossfade", "-o", tmp_path / "report")
    assert run(*command).code == 0
    (scene / "images" / "0001.png").write_bytes((scene / "images" / "0003.png").read_bytes())
    ended = run(*command)
    assert ended.code == 2
    assert "--force" in ended.err
    assert run(*command, "--force").code == 0


def test_keep(wall: Wall, run: Run, tmp_path: Path) -> None:
    command = ("--two-view", wall(), "--method", "nearest", "-o", tmp_path / "report")
    assert run(*command).code == 0
    assert not (tmp_path / "report" / "frames").exists()
    assert run(*command, "--keep").code == 0
    kept = tmp_path / "report" / "frames" / "nearest" / "wall-0000-0004"
    assert sorted(path.name for path in kept.iterdir()) == ["frames", "transforms.json", "video.mp4"]
    assert len(list((kept / "frames").iterdir())) == 3


def test_the_kept_truth_follows_the_scene(wall: Wall, run: Run, tmp_path: Path) -> None:
    scene = wall()
    command = ("--two-view", scene, "--method", "nearest", "--keep", "-o", tmp_path / "report")
    assert run(*command).code == 0
    truth = tmp_path / "report" / "frames" / "truth" / "wall-0000-0004" / "frames" / "0000.png"
    before = truth.read_bytes()
    (scene / "images" / "0001.png").write_bytes((scene / "images" / "0003.png").read_bytes())
    assert run(*command, "--force").code == 0
    assert truth.read_bytes() != before


def test_kept_frames_are_of_the_figures_beside_them(wall: Wall, run: Run, tmp_path: Path) -> None:
    scene = wall()
    command = ("--two-view", scene, "--method", "nearest", "-o", tmp_path / "report")
    frames = tmp_path / "report" / "frames" / "nearest" / "wall-0000-0004"
    assert run(*command, "--keep").code == 0
    (scene / "images" / "0001.png").write_bytes((scene / "images" / "0003.png").read_bytes())
    assert run(*command, "--force").code == 0
    assert not frames.exists(), "they were of the scene as it was"
    (scene / "images" / "0001.png").write_bytes((scene / "images" / "0002.png").read_bytes())
    ended = run(*command, "--keep")
    assert ended.code == 2, "the record is of another request, whether frames are there or not"
    assert "--force" in ended.err


def test_a_bad_scene_does_not_stop_the_rest(wall: Wall, run: Run, tmp_path: Path) -> None:
    wall("a"), wall("b", pairs=[]), wall("c")
    (tmp_path / "scenes" / "c" / "images" / "0001.png").write_bytes(b"not an image")
    (tmp_path / "scenes" / "a" / "images" / "0003.png").unlink()
    ended = run("--two-view", tmp_path / "scenes", "--method", "crossfade", "-o", tmp_path / "report")
    assert ended.code == 1
    assert ended.err.count("error: ") == 5  # b, one case of a, two of c, and the sum of it
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert [case["case"] for case in metrics["cases"]] == ["a-0000-0002"]
    assert len(metrics["failed"]) == 4
    assert not (tmp_path / "report" / "manifest.json").exists()


def test_a_killed_run_loses_and_repeats_nothing(wall: Wall, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "report"
    command = ["--two-view", str(wall("a")), str(wall("b")), "--method", "crossfade", "-o", str(out)]
    killed = subprocess.run(
        [sys.executable, "-c", DIES, "evaluate", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(killed.stdout.splitlines()) == 2
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.json")}
    assert len(before) == 2
    ended = run(*command)
    assert ended.code == 0
    assert len(ended.lines) == 4 + 3 + 1
    assert all(path.stat().st_mtime_ns == time for path, time in before.items()), "finished cases stay as they were"
    assert len({line.split()[0] for line in ended.lines[:4]}) == 4
    assert not [name for _, _, names in os.walk(out) for name in names if "partial" in name]


def test_a_corrupt_network_ends_the_run(wall: Wall, run: Run, tmp_path: Path) -> None:
    network = tmp_path / "cache" / "metrics" / "lpips-vgg.safetensors"
    network.parent.mkdir(parents=True)
    network.write_bytes(b"not safetensors")
    ended = run("--two-view", wall(), "--method", "nearest", "-o", tmp_path / "report")
    assert ended.code == 3
    assert "damaged weights" in ended.err
    assert "make metrics" in ended.err
    network.unlink()
    assert run("--two-view", wall("b"), "--method", "nearest", "-o", tmp_path / "report").code == 0


def test_several_processes_agree_with_one(wall: Wall, run: Run, tmp_path: Path) -> None:
    scenes = (wall("a"), wall("b"), wall("c"))
    (scenes[2] / "images" / "0001.png").write_bytes(b"not an image")
    for name, extra in (("one", ()), ("two", ("--jobs", 2))):
        assert run("--two-view", *scenes, "--method", "nearest", "-o", tmp_path / name, *extra).code == 1
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two"))
    for a, b in zip(one["cases"], two["cases"], strict=True):
        for metric in ("psnr", "ssim"):  # to rounding, because a worker has fewer threads
            assert a["mean"][metric] == pytest.approx(b["mean"][metric], rel=1e-6)
            assert a["frames"][metric] == pytest.approx(b["frames"][metric], rel=1e-6)
        assert a | {"seconds": 0, "mean": 0, "frames": 0} == b | {"seconds": 0, "mean": 0, "frames": 0}
    assert one["failed"] == two["failed"]


def test_a_worker_that_is_killed_costs_its_own_case_alone(wall: Wall, tmp_path: Path) -> None:
    command = [
        "--two-view",
        str(wall("a")),
        str(wall("b")),
        "--method",
        "nearest",
        "-o",
        str(tmp_path / "report"),
        "--jobs",
        "2",
    ]
    script = tmp_path / "killed.py"  # a file: workers import it again, and so are killed as well
    script.write_text(KILLS_A_WORKER)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, script, "evaluate", *command], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1, ended.stderr
    assert "its process was killed" in ended.stderr
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert sorted(case["case"] for case in metrics["cases"]) == ["a-0000-0002", "b-0000-0002", "b-0000-0004"]
    assert list(metrics["failed"]) == ["a-0000-0004 nearest"]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--two-view", "nowhere", "-o", "x"), 2, "no transforms.json"),
        ((), 2, "no scene was given"),
        (("nowhere",), 2, "there is no such folder"),
        (("scene/transforms.json",), 2, "it is a file"),
        (("--two-view", "scene"), 2, "-o is missing"),
        (("--two-view", "scene", "--method", "magic", "-o", "x"), 2, "'magic' is no method"),
        (("--two-view", "scene", "--weights", "nothing", "-o", "x"), 3, "nothing"),
        (("--two-view", "scene", "--benchmark", "-o", "x"), 2, "--two-view and --benchmark are different reports"),
        (("--report", "scene", "--real", "x"), 2, "are different reports"),
        (("scene", "--method", "nearest", "--keep", "-o", "x"), 2, "--keep does nothing for a report of a scene"),
        (("--report", "x", "scene"), 2, "scene does nothing for --report"),
    ],
)
def test_bad_usage(
    wall: Wall, run: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, told: str
) -> None:
    folder = wall("scene").parent
    monkeypatch.chdir(folder)
    ended = run(*arguments)
    assert ended.code == code
    assert told in ended.err
    assert ended.err.startswith("error: ")
    assert len(ended.err.splitlines()) == 3
    assert not (folder / "x").exists()
