"""The phases at tiny sizes: golden losses, what is refused, what a killed run leaves."""

import json
import math
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.distill.checkpoints import checkpoints, read_facts
from stages.distill.phases import PREVIEW_CLIPS, Clips, finished, train_phase
from stages.distill.policy_training import RewardTable, train_policy
from stages.distill.training_loop import Trainer
from stages.errors import InputError, WeightsError
from tests.distill.tiny import CONFIG, setting, write_shards

# Mean losses of four steps with seed 0. The policy has none: its rewards differ so little here that its loss depends on
# the order of a sum.
LOSSES = {"teacher": 6.4121, "regression": 0.43082, "student": 0.44778}


def quiet(done: int, total: int) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_shards(tmp_path_factory.mktemp("clips") / "clips")


@pytest.fixture(scope="module")
def trained(shards: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run") / "run"
    for phase in ("teacher", "regression", "student"):
        train_phase(setting(run, shards), phase, quiet)  # type: ignore[arg-type]
    train_policy(setting(run, shards), quiet, quiet)
    return run


def rows(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_golden_losses(trained: Path) -> None:
    found = {str(row["phase"]): row["loss"] for row in rows(trained) if row["step"] == 4 and "loss" in row}
    assert math.isfinite(float(str(found.pop("policy"))))
    assert found == pytest.approx(LOSSES, rel=1e-3)


def test_the_log_and_the_samples(trained: Path) -> None:
    told = [(row["phase"], row["step"]) for row in rows(trained)]
    assert told == [(phase, step) for phase in ("teacher", "regression", "student") for step in (2, 4, 4)] + [
        ("policy", 4)
    ]
    looked = [row["held_out"] for row in rows(trained) if "held_out" in row]
    assert all(math.isfinite(value) for figures in looked for value in figures.values())  # type: ignore[attr-defined]
    assert len(list((trained / "samples").glob("*.png"))) == 6
    assert [path.name for path in checkpoints(trained, "student")] == ["step-000002", "step-000004"]


def test_a_perceptual_distance_counts_and_is_logged(shards: list[Path], tmp_path: Path) -> None:
    seen: list[int] = []

    def distance(made: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        seen.append(len(made))
        return (made - truth).square().mean()

    config = replace(CONFIG, perceptual_frames=2, teacher=replace(CONFIG.teacher, steps=1, accumulate=1))
    train_phase(replace(setting(tmp_path / "run", shards, config), perceptual=distance), "teacher", quiet)
    assert seen == [2, *[1] * 6], "two frames in the step, then a frame of three clips and of their renders"
    looked = rows(tmp_path / "run")[-1]["held_out"]
    assert looked["lpips"] < looked["lpips_render"]  # type: ignore[index]


def test_each_phase_moves_the_weights_that_the_one_before_left(trained: Path) -> None:
    ends = {
        phase: load_file(checkpoints(trained, phase)[-1] / "state.safetensors")
        for phase in ("teacher", "student", "regression")
    }
    key = "average.head.weight"
    assert float(ends["teacher"][key].abs().max()) > 0, "an untrained head is zero"
    assert not torch.equal(ends["teacher"][key], ends["student"][key])
    assert not torch.equal(ends["regression"][key], ends["student"][key])


def test_a_phase_needs_the_one_before(shards: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 of 4 steps") as caught:
        train_phase(setting(tmp_path / "run", shards), "student", quiet)
    assert "--phase teacher" in caught.value.hint


def test_other_settings_are_refused(trained: Path, shards: list[Path]) -> None:
    other = replace(CONFIG, student=replace(CONFIG.student, learning_rate=1e-4))
    with pytest.raises(InputError, match=r"learning_rate was 0\.001, now 0\.0001"):
        train_phase(setting(trained, shards, other), "student", quiet)
    other = replace(CONFIG, teacher=replace(CONFIG.teacher, cap=None))
    with pytest.raises(InputError, match=r"cap was 5\.0, now None"):
        train_phase(setting(trained, shards, other), "student", quiet)


def test_a_set_that_grows_does_not_change_a_run(trained: Path, shards: list[Path], tmp_path: Path) -> None:
    new = setting(trained, [*shards, tmp_path / "new.safetensors"])
    assert Clips(new, [str(path) for path in shards]).names == [str(path) for path in shards]
    with pytest.raises(InputError, match="is gone"):
        Clips(setting(trained, shards[:1]), [str(path) for path in shards])


def test_a_run_knows_its_shards_from_another_folder_and_after_a_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint and a table of rewards that name them, from another folder with paths of another kind."""
    away, inside = tmp_path / "away", tmp_path / "a" / "run" / "clips"
    write_shards(inside, shards=1)
    write_shards(away, shards=1)
    monkeypatch.chdir(tmp_path)
    relative = [*Path("a/run/clips").iterdir(), *Path("away").iterdir()]
    first = setting(Path("a/run"), relative)
    train_phase(first, "teacher", quiet)
    names = RewardTable(first).clips.names
    assert names == ["clips/00000.safetensors", str(away.resolve() / "00000.safetensors")]
    facts = read_facts(checkpoints(tmp_path / "a" / "run", "teacher")[-1])
    assert facts["clips"] == names

    (tmp_path / "a" / "run").rename(tmp_path / "moved")
    monkeypatch.chdir(away)
    for folder, run in ((tmp_path, tmp_path / "moved"), (Path(".."), Path("../moved"))):
        again = setting(run, [path for part in (run / "clips", folder / "away") for path in part.iterdir()])
        train_phase(again, "teacher", quiet)
        assert Clips(again, names).names == names


def test_clips_that_are_looked_at_are_not_trained_on(trained: Path, shards: list[Path]) -> None:
    clips = Clips(setting(trained, shards))
    assert (clips.trained, clips.held_out) == (shards[:1], shards[1:])


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("reshaped", r"network\.head\.weight is \(1,\), not \(320, 16, 3, 3\)"),
        ("missing", r"network\.head\.weight is missing"),
        ("unexpected", r"network\.tail is unexpected"),
        ("truncated", "damaged or not a safetensors file"),
        ("pickle", "damaged or not a safetensors file"),
        ("facts", "no step or no identity"),
    ],
)
def test_a_damaged_checkpoint_is_refused(
    trained: Path, shards: list[Path], tmp_path: Path, damage: str, told: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    checkpoint = checkpoints(run, "teacher")[-1]
    path = checkpoint / "state.safetensors"
    tensors = load_file(path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-9])
    elif damage == "pickle":
        torch.save({"network": Exploding()}, path)
    elif damage == "facts":
        (checkpoint / "state.json").write_text("{}")
    else:
        del tensors["network.head.weight"]
        new = {"reshaped": {"network.head.weight": torch.zeros(1)}, "missing": {}}.get(
            damage, {"network.tail": torch.zeros(1)}
        )
        whole = load_file(path) if damage == "unexpected" else tensors
        save_file(whole | new, path)
    with pytest.raises(WeightsError, match=told):
        train_phase(setting(run, shards), "teacher", quiet)


class Exploding:
    """Code in a pickle."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("the pickle was run",)


def test_a_step_whose_gradient_overflows_teaches_nothing(
    shards: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = setting(tmp_path / "run", shards)
    start = {name: value.detach().clone() for name, value in before.model.weights.items()}
    monkeypatch.setattr(Trainer, "_save", lambda self: None)
    monkeypatch.setattr("stages.distill.phases.teacher_loss", overflowing)
    train_phase(before, "teacher", quiet)
    assert all(torch.equal(value, start[name]) for name, value in before.model.weights.items())
    assert rows(before.run)[-1]["skipped"] == 1


def overflowing(
    network: object, start: torch.Tensor, truth: torch.Tensor, condition: torch.Tensor, t: torch.Tensor, *_: object
):  # type: ignore[no-untyped-def]
    v = network(torch.cat([start, condition], 2), t)  # type: ignore[operator]
    return (v / 0).sum(), start


def test_reading_ahead_changes_nothing(shards: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All batches but the first are read in another thread, each once."""
    reads: list[bool] = []
    read = Clips._read

    def counted(*arguments: Any) -> Any:
        reads.append(threading.current_thread() is threading.main_thread())
        return read(*arguments)

    monkeypatch.setattr(Clips, "_read", counted)
    ahead, plain = setting(tmp_path / "ahead", shards), setting(tmp_path / "plain", shards)
    train_phase(ahead, "teacher", quiet)
    batches, in_preview = 2 * 4, PREVIEW_CLIPS
    assert (reads.count(False), reads.count(True)) == (batches - 1, 1 + in_preview)
    monkeypatch.setattr(Clips, "read_ahead", lambda *_: None)
    train_phase(plain, "teacher", quiet)
    assert reads.count(False) == batches - 1
    for name, value in finished(ahead, "teacher").items():
        assert torch.equal(value, finished(plain, "teacher")[name])
