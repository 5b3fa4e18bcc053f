"""Two processes that divide the weights of a large model among themselves train as one process that holds all."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stages.distill.sharding import exchanged, is_sharded, shard
from stages.distill.workers import Workers
from stages.files.documents import read_json
from tests.distill.processes import start_processes
from tests.distill.sharded_runs import TWO_BLOCKS, train
from tests.distill.tiny import small, write_shards
from tests.video.tiny import save_student

PROGRAM = "import sys; from pathlib import Path; from tests.distill.sharded_runs import main; main(Path(sys.argv[1]))"
# Largest differences from the run of one process, whose sums have another order: of weights, which a step moves by
# about 1e-3, and of moments, relative to the largest value of a tensor.
WEIGHTS, MOMENTS = 1e-5, 1e-3
RUNS = ("whole", "sharded", "first whole", "first sharded")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run `one` of one process, which sees two batches per step, and the runs of two processes."""
    folder = tmp_path_factory.mktemp("sharding")
    save_student(folder / "base", TWO_BLOCKS)
    write_shards(folder / "clips", (32, 48))
    train(folder, "one", 2)
    ended = start_processes(PROGRAM, [str(folder)], 2)
    assert [code for code, _ in ended] == [0, 0], ended
    assert not any("warning" in messages for _, messages in ended)
    return folder


def state(run: Path, phase: str) -> dict[str, torch.Tensor]:
    """Weights, averaged weights and moments at the end of a phase."""
    return load_file(run / "checkpoints" / phase / "step-000002" / "state.safetensors")


@pytest.mark.parametrize("run", RUNS)
def test_all_runs_end_with_the_same_checkpoints(runs: Path, run: str) -> None:
    """`first whole` is a run without shards that goes on with them, `first sharded` the reverse."""
    for phase in ("teacher", "student", "policy"):
        one, other = state(runs / "one", phase), state(runs / run, phase)
        assert {name: (x.shape, x.dtype) for name, x in one.items()} == {
            name: (x.shape, x.dtype) for name, x in other.items()
        }
        apart = {name: float((one[name] - other[name]).abs().max()) for name in one}
        moments = [name for name in one if name.startswith("optimiser.")]
        assert max(apart[name] for name in one.keys() - moments) < WEIGHTS
        assert max(apart[name] / float(one[name].abs().max()) for name in moments) < MOMENTS
    teacher, student = state(runs / run, "teacher"), state(runs / run, "student")
    moved = max(float((teacher[name] - student[name]).abs().max()) for name in teacher if name.startswith("average."))
    assert moved > 1e-4, "the comparison would see a phase that does nothing"


def test_a_process_holds_its_share(runs: Path) -> None:
    """Of weights, gradients, averaged weights and moments; the policy's small network stays whole."""
    held = {path.stem: read_json(path) for path in runs.glob("*.json")}
    sharded = [held[f"{run}-{rank}"] for run in ("sharded-teacher", "sharded-student") for rank in (0, 1)]
    assert sharded == [0.5] * 4
    assert [held[f"first {run}-student-0"] for run in ("whole", "sharded")] == [0.5, 1.0]
    assert [held[f"{run}-{phase}-0"] for run, phase in (("whole", "student"), ("sharded", "policy"))] == [1.0, 1.0]


def test_the_log_tells_the_same_norms_of_the_gradient(runs: Path) -> None:
    def norms(run: str) -> list[float]:
        rows = [json.loads(line) for line in (runs / run / "log.jsonl").read_text().splitlines()]
        return [row["gradient"] for row in rows if "gradient" in row]

    assert norms("sharded") == pytest.approx(norms("one"), rel=1e-4)


def test_one_process_and_small_models_keep_whole_weights() -> None:
    model = small()
    shard(model, Workers(0, 2))
    assert not is_sharded(model.weights)
    divisible = replace(model, blocks=(model.network,))
    shard(divisible, Workers())
    assert not is_sharded(divisible.weights)


def test_weights_are_exchanged_until_a_pass_ends_or_fails() -> None:
    own, others = {"a": torch.zeros(2, requires_grad=True)}, {"a": torch.ones(2)}
    seen: list[float] = []

    def run_and_fail() -> None:
        with exchanged(own, others):
            seen.extend((*own["a"].tolist(), *others["a"].tolist()))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_and_fail()
    assert seen == [1, 1, 0, 0]
    assert (own["a"].tolist(), others["a"].tolist()) == ([0, 0], [1, 1])
