"""videoscene distill for a prior: from a recipe to weights that --weights takes, on pairs of worlds or recordings."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from stages.distill import pairs_of_recordings, prior_worlds
from stages.files.file_hashes import FileHashes
from stages.prior import load
from stages.prior.config import SMALL
from tests.cli.conftest import Ended
from tests.distill.tiny_prior import random_shard
from videoscene_cli.models.weights_file import find_weights
from videoscene_cli.results.manifest import read_manifest

Run = Callable[..., Ended]
PHASE = {"steps": 1, "every": 1, "warmup": 0}
RECIPE = {
    "model": "small-prior",
    "data": {"pairs": 2, "scenes": 2, "sizes": [[64, 96]]},
    "monocular": PHASE,
    "prior": PHASE,
}

LOAD_PRIOR = load.load_prior  # before the stand-in of the other tests takes its place


@pytest.fixture(autouse=True)
def _real_prior(_plain_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the one of flat Gaussians."""
    monkeypatch.setattr(load, "load_prior", LOAD_PRIOR)


def write_recipe(path: Path, **changes: object) -> Path:
    path.write_text(yaml.safe_dump(RECIPE | changes))
    return path


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Worlds of noise instead of those that take long; the numbers of the shards that were made."""
    numbers: list[int] = []

    class Noise:
        def write(self, folder: Path, number: int) -> Path:
            numbers.append(number)
            return random_shard(folder / f"{number:05d}.safetensors", number)

    monkeypatch.setattr(prior_worlds, "load_pair_worlds", lambda data, seed: Noise())
    return numbers


def test_from_a_recipe_to_weights(videoscene: Run, made: list[int], tmp_path: Path) -> None:
    recipe, run = write_recipe(tmp_path / "recipe.yaml"), tmp_path / "run"
    command = ("distill", "-o", run, "--config", recipe, "--device", "cpu", "--json")
    ended = videoscene(*command)
    assert ended.code == 0, ended.err
    assert [json.loads(line)["phase"] for line in ended.out.splitlines()] == ["monocular", "prior"]
    assert made == [0, 1]
    found = find_weights(str(run / "weights" / "prior"), "prior", FileHashes())
    network = load.load_prior(found.path)
    assert network.config == SMALL
    assert {value.dtype for value in load_file(found.path).values()} == {torch.float16}
    assert read_manifest(run / "weights" / "prior" / "manifest.json", FileHashes())["shards"] == 2
    assert {output["path"] for output in read_manifest(run / "manifest.json", FileHashes())["outputs"]} == {
        f"weights/{phase}/prior.safetensors" for phase in ("monocular", "prior")
    }
    again = videoscene(*command)
    assert [json.loads(line)["up_to_date"] for line in again.out.splitlines()] == [True, True]
    forced = videoscene(*command, "--phase", "prior", "--force")
    assert forced.code == 0, forced.err
    assert [json.loads(line)["up_to_date"] for line in videoscene(*command).out.splitlines()] == [True, True]
    assert made == [0, 1], "the pairs are kept"
    # Another run goes on from these weights.
    start = write_recipe(tmp_path / "start.yaml", start=str(found.path), monocular={"steps": 0})
    ended = videoscene(
        "distill", "-o", tmp_path / "more", "--config", start, "--clips", run / "clips" / "pairs", "--device", "cpu"
    )
    assert ended.code == 0, ended.err
    before, after = load_file(found.path), load_file(tmp_path / "more" / "weights" / "prior" / "prior.safetensors")
    assert before.keys() == after.keys()
    assert max(float((before[name].float() - after[name].float()).abs().max()) for name in before) < 0.01


def test_recordings_are_named_by_clips(
    videoscene: Run, made: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def write(folder: Path, recordings: object, seed: int, number: int, *_: object) -> None:
        asked.append(recordings)
        random_shard(folder / f"{number:05d}.safetensors", number, depth=False)

    monkeypatch.setattr(pairs_of_recordings, "write_pairs", write)
    monkeypatch.setattr("stages.distill.clips_of_recordings.find_recordings", lambda source: [source])
    monkeypatch.setattr("videoscene_cli.training.prior_run.RECORDED_SHARDS", 2)
    monkeypatch.setattr("videoscene_cli.training.pairs.RECORDED_SHARDS", 2)
    recipe = write_recipe(tmp_path / "recipe.yaml", monocular={"steps": 0})
    (tmp_path / "scenes").mkdir()
    ended = videoscene(
        "distill", "-o", tmp_path / "run", "--config", recipe, "--clips", tmp_path / "scenes", "--device", "cpu"
    )
    assert ended.code == 0, ended.err
    assert asked == [[tmp_path / "scenes"]] * 2
    assert made == []
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert "depth" not in next(row for row in rows if "loss" in row)


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"data": {"pairs": 0}}, 2, "no training pairs"),
        ({"teacher": PHASE}, 2, "has no phase teacher"),
        ({"start": "nothing.safetensors"}, 3, "cannot read the weights nothing.safetensors"),
        ({"encoder": "nothing.pth"}, 3, "nothing.pth"),
        ({"data": {"pairs": 1, "furniture": "nothing.npz"}}, 2, "nothing.npz"),
    ],
)
def test_what_cannot_be_trained(
    videoscene: Run, tmp_path: Path, changes: dict[str, object], code: int, told: str
) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", **changes)
    ended = videoscene("distill", "-o", tmp_path / "run", "--config", recipe, "--device", "cpu")
    assert ended.code == code, ended.err
    assert told in ended.err
    assert len(ended.err.strip().splitlines()) == 3


def test_the_plan_writes_nothing(videoscene: Run, tmp_path: Path) -> None:
    ended = videoscene("distill", "-o", tmp_path / "run", "--config", "prior", "--dry-run", "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["phases"].keys() == {"monocular", "prior"}
    assert not (tmp_path / "run").exists()
