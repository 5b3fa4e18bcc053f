"""Two processes train as one that sees the batches of both."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from stages.distill.workers import _buckets
from stages.files.documents import read_json
from tests.distill.processes import start_processes
from tests.distill.tiny import COMMON, NETWORK, write_shards

PROGRAM = "import torch, sys; torch.set_num_threads(1); from videoscene_cli.app import run; sys.exit(run(sys.argv[1:]))"


def recipe(accumulate: int) -> dict[str, Any]:
    phase = {**COMMON, "accumulate": accumulate}
    policy = {**COMMON, "clips": 3, "held_out": 0.4, "grid": [99, 299], "width": 8, "accumulate": accumulate}
    data = {"frames": 5, "size": [16, 32]}
    return {"network": NETWORK, "data": data, "teacher": phase, "student": phase, "policy": policy}


def distill(run: Path, processes: int, accumulate: int, clips: Path) -> list[tuple[int, str]]:
    """Exit code and messages of every process."""
    config = run.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(recipe(accumulate)))
    arguments = ["distill", "-o", str(run), "--config", str(config), "--clips", str(clips), "--device", "cpu"]
    return start_processes(PROGRAM, arguments, processes)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process that accumulates two batches, and one of two processes."""
    folder = tmp_path_factory.mktemp("workers")
    write_shards(folder / "clips")
    for name, processes, accumulate in (("one", 1, 2), ("two", 2, 1)):
        ended = distill(folder / name, processes, accumulate, folder / "clips")
        assert [code for code, _ in ended] == [0] * processes, ended
    return folder


def test_one_and_two_processes_end_with_the_same_weights(runs: Path) -> None:
    for phase, files in (("teacher", ["student"]), ("full", ["student", "policy"])):
        for name in files:
            one, two = (load_file(runs / run / "weights" / phase / f"{name}.safetensors") for run in ("one", "two"))
            assert one.keys() == two.keys()
            assert max(float((one[key] - two[key]).abs().max()) for key in one) < 1e-6


def test_rewards_are_shared_out_and_stay_in_order(runs: Path) -> None:
    """Three clips for two processes."""
    tables = [read_json(runs / run / "checkpoints" / "policy" / "rewards.json")["rewards"] for run in ("one", "two")]
    assert [len(table) for table in tables] == [3, 3]
    assert torch.allclose(torch.tensor(tables[0]), torch.tensor(tables[1]), atol=1e-5)


def test_a_run_goes_on_only_with_the_same_number_of_processes(runs: Path) -> None:
    ((code, message),) = distill(runs / "two", 1, 1, runs / "clips")
    assert code == 2
    assert "processes" in message


def test_tensors_are_averaged_in_buckets_of_one_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.distill.workers.BUCKET", 10)
    tensors = [torch.zeros(n, dtype=dtype) for n, dtype in ((4, torch.float32), (6, torch.float32), (1, torch.float32),
                                                            (1, torch.float64), (30, torch.float64))]  # fmt: skip
    assert [[len(tensor) for tensor in bucket] for bucket in _buckets(tensors)] == [[4, 6], [1], [1], [30]]
