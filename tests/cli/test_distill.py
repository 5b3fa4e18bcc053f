"""videoscene distill: from clips to weights that generate takes. A run that is killed ends with the same weights."""

import json
import multiprocessing
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from stages.distill import clips_of_recordings, clips_of_worlds
from stages.files.clip_folder import read_clip
from stages.files.file_hashes import FileHashes
from stages.video.small_student import dtype_on
from tests.cli.conftest import Ended
from tests.cli.distill_program import run as run_and_die
from tests.distill.tiny import RECIPE, write_shards
from videoscene_cli.models.session import Session
from videoscene_cli.results.manifest import read_manifest

Run = Callable[..., Ended]
Photos = tuple[Path, Path]

WEIGHTS = ("teacher/student", "regression/student", "student/student", "full/student", "full/policy")


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A recipe and clips."""
    folder = tmp_path_factory.mktemp("material")
    write_shards(folder / "clips")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    return folder / "recipe.yaml", folder / "clips"


def command(material: tuple[Path, Path], out: Path, *more: object) -> list[str]:
    return [
        str(word)
        for word in ("distill", "-o", out, "--config", material[0], "--clips", material[1], "--device", "cpu", *more)
    ]


@pytest.fixture
def whole(material: tuple[Path, Path], videoscene: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run, made once."""
    out = tmp_path_factory.getbasetemp() / "whole"
    if not out.exists():
        ended = videoscene(*command(material, out))
        assert ended.code == 0, ended.err
        assert ended.out.splitlines() == [
            str(out / "weights" / name) for name in ("teacher", "regression", "student", "full")
        ]
    return out


def test_killed_in_every_phase_it_ends_with_the_same_weights(
    whole: Path, material: tuple[Path, Path], videoscene: Run, tmp_path: Path
) -> None:
    """In a step of some, while others write a checkpoint."""
    out = tmp_path / "cut"
    processes = multiprocessing.get_context("spawn")  # a fork of a process whose OpenMP threads have run would hang
    for phase, place in (("teacher", "step"), ("regression", "save"), ("student", "step"), ("policy", "save")):
        process = processes.Process(target=run_and_die, args=(command(material, out, "-q"), phase, place))
        process.start()
        process.join(120)
        assert process.exitcode == -signal.SIGKILL, phase
        assert not (out / "weights" / {"policy": "full"}.get(phase, phase)).exists()
    ended = videoscene(*command(material, out))
    assert ended.code == 0, ended.err
    assert "policy: going on from step 2 of 4" in ended.err
    for name in WEIGHTS:
        a, b = (load_file(run / "weights" / f"{name}.safetensors") for run in (whole, out))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a), name
    steps = [
        (row["phase"], row["step"])
        for row in map(json.loads, (out / "log.jsonl").read_text().splitlines())
        if "loss" in row
    ]
    assert steps == [(phase, 4) for phase in ("teacher", "regression", "student", "policy")]
    assert not list(out.rglob(".*partial*"))
    fingerprints = [read_manifest(run / "manifest.json", FileHashes())["fingerprint"] for run in (out, whole)]
    assert fingerprints[0] == fingerprints[1]


def test_the_same_run_is_up_to_date_and_another_is_refused(
    whole: Path, material: tuple[Path, Path], videoscene: Run
) -> None:
    ended = videoscene(*command(material, whole, "--json"))
    assert ended.code == 0
    assert [json.loads(line)["up_to_date"] for line in ended.out.splitlines()] == [True] * 4
    ended = videoscene(*command(material, whole, "--seed", 1))
    assert ended.code == 2
    assert "seed was 0, now 1" in ended.err
    assert "--force" in ended.err


@pytest.mark.parametrize(
    ("phase", "kept", "policy_keeps"),
    [
        ("student", {"teacher", "regression", "student"}, False),
        ("regression", {"teacher", "regression", "student", "full"}, True),
    ],
)
def test_force_starts_over_what_comes_of_a_phase_and_nothing_else(
    whole: Path,
    material: tuple[Path, Path],
    videoscene: Run,
    tmp_path: Path,
    phase: str,
    kept: set[str],
    policy_keeps: bool,
) -> None:
    """The policy is rewarded by the student it picks steps for."""
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    ended = videoscene(*command(material, out, "--phase", phase, "--force"))
    assert ended.code == 0, ended.err
    assert {path.name for path in (out / "weights").iterdir()} == kept
    assert (out / "checkpoints" / "policy" / "rewards.json").exists() == policy_keeps
    ended = videoscene(*command(material, out, "--json"))
    assert [json.loads(line)["up_to_date"] for line in ended.out.splitlines()] == [True, True, True, policy_keeps]


def test_force_keeps_what_it_cannot_train_again(
    whole: Path, material: tuple[Path, Path], videoscene: Run, tmp_path: Path
) -> None:
    """A mistyped folder of clips, or a phase before that is not finished, costs no weights."""
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    before = sorted(path.relative_to(out) for path in out.rglob("*"))
    ended = videoscene(
        "distill", "-o", out, "--config", material[0], "--clips", tmp_path / "typo", "--device", "cpu", "--force"
    )
    assert ended.code == 2
    assert "no training clips" in ended.err
    assert sorted(path.relative_to(out) for path in out.rglob("*")) == before
    shutil.rmtree(out / "checkpoints" / "teacher")
    ended = videoscene(*command(material, out, "--phase", "student", "--force"))
    assert ended.code == 2
    assert "the teacher of" in ended.err
    assert (out / "weights" / "student" / "student.safetensors").is_file()


def test_a_run_is_laid_out_as_the_readme_says(whole: Path) -> None:
    assert {path.name for path in whole.iterdir()} == {
        "config.yaml",
        "log.jsonl",
        "samples",
        "checkpoints",
        "weights",
        "manifest.json",
    }
    manifest = read_manifest(whole / "manifest.json", FileHashes())
    assert {output["path"] for output in manifest["outputs"]} >= {f"weights/{name}.safetensors" for name in WEIGHTS}
    full = read_manifest(whole / "weights" / "full" / "manifest.json", FileHashes())
    assert full["policy"]["clips"] == 2
    assert yaml.safe_load((whole / "config.yaml").read_text())["policy"]["grid"] == [99, 299]


def test_clips_are_made_once(
    material: tuple[Path, Path], videoscene: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of worlds and of recordings, as the recipe asks; the makers themselves are tested in tests/distill."""
    made: list[str] = []

    def make(kind: str, folder: Path, seed: int, number: int) -> None:
        made.append(f"{kind} {seed} {number}")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(material[1] / "00000.safetensors", folder / f"{number:05d}.safetensors")

    def of_worlds(folder: Path, _: object, assets: object, __: object, seed: int, number: int) -> None:
        assert assets is None, "the recipe names no furniture"
        make("world", folder, seed, number)

    def of_recordings(folder: Path, _: object, __: object, seed: int, number: int, *___: object) -> None:
        make("recorded", folder, seed, number)

    monkeypatch.setattr(Session, "open_renderer", lambda _: made.append("renderer"))
    monkeypatch.setattr(clips_of_worlds, "write_shard", of_worlds)
    monkeypatch.setattr(clips_of_recordings, "write_shard", of_recordings)
    monkeypatch.setattr(clips_of_recordings, "find_recordings", lambda source: [source])
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "run"
    data = {**RECIPE["data"], "worlds": 2, "recordings": ["somewhere"], "recorded": 1}  # type: ignore[dict-item]
    recipe.write_text(yaml.safe_dump(RECIPE | {"data": data}))
    ended = videoscene("distill", "-o", out, "--config", recipe, "--phase", "teacher", "--seed", 3)
    assert ended.code == 0, ended.err
    assert made == ["renderer", "world 3 0", "world 3 1", "recorded 3 0"]
    assert videoscene("distill", "-o", out, "--config", recipe, "--phase", "teacher", "--seed", 3).code == 0
    assert len(made) == 4
    manifest = read_manifest(out / "weights" / "teacher" / "manifest.json", FileHashes())
    size = (material[1] / "00000.safetensors").stat().st_size
    assert manifest["clips"] == {
        f"clips/{name}.safetensors": size for name in ("worlds/00000", "worlds/00001", "recorded/00000")
    }
    assert read_manifest(out / "manifest.json", FileHashes())["device"] == manifest["device"] != "auto"


def test_the_manifest_lists_the_clips_that_were_trained_on(
    whole: Path, material: tuple[Path, Path], videoscene: Run, tmp_path: Path
) -> None:
    """Not those that came since."""
    out, more = tmp_path / "run", tmp_path / "more"
    shutil.copytree(whole, out)
    shutil.rmtree(out / "weights" / "full")
    write_shards(more, shards=1)
    ended = videoscene(*command(material, out, "--clips", more))
    assert ended.code == 0, ended.err
    told = {
        name: read_manifest(out / "weights" / name / "manifest.json", FileHashes())["clips"]
        for name in ("student", "full")
    }
    assert (
        told["full"] == told["student"] == {str(path.resolve()): path.stat().st_size for path in material[1].iterdir()}
    )


def test_the_plan_writes_nothing(material: tuple[Path, Path], videoscene: Run, tmp_path: Path) -> None:
    ended = videoscene(*command(material, tmp_path / "run", "--phase", "student", "--dry-run", "--json"))
    assert ended.code == 0
    assert json.loads(ended.out)["phases"] == {"student": "4 steps"}
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--config", "nothing"], 2, "cogvideox-5b, prior, small"),
        (["--clips", "nowhere"], 2, "no shard"),
        (["--phase", "policy"], 2, "the student of"),
        (["--phase", "dream"], 2, "teacher"),
    ],
)
def test_what_cannot_be_trained(
    material: tuple[Path, Path], videoscene: Run, tmp_path: Path, arguments: list[str], code: int, told: str
) -> None:
    base = ["distill", "-o", str(tmp_path / "run"), *arguments]
    base += [] if "--config" in arguments else ["--config", str(material[0])]
    base += [] if "--clips" in arguments else ["--clips", str(material[1])]
    ended = videoscene(*base)
    assert ended.code == code
    assert told in ended.err
    assert len(ended.err.strip().splitlines()) == 3
    assert not (tmp_path / "run" / "weights").exists()


def test_unknown_keys_and_no_steps(material: tuple[Path, Path], videoscene: Run, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("teacher: {stepps: 3}")
    ended = videoscene("distill", "-o", tmp_path / "run", "--clips", material[1], "--config", recipe)
    assert ended.code == 2
    assert "'stepps'" in ended.err
    assert "steps" in ended.err.splitlines()[2]
    recipe.write_text("teacher: {steps: 3}")
    ended = videoscene(
        "distill", "-o", tmp_path / "run", "--clips", material[1], "--config", recipe, "--phase", "student"
    )
    assert ended.code == 2
    assert "phases with steps: teacher" in ended.err


def test_weights_to_start_from(whole: Path, material: tuple[Path, Path], videoscene: Run, tmp_path: Path) -> None:
    recipe, start = tmp_path / "recipe.yaml", tmp_path / "start.safetensors"
    recipe.write_text(yaml.safe_dump(RECIPE | {"start": str(start)}))
    tensors = load_file(whole / "weights" / "student" / "student.safetensors")
    save_file(tensors | {"head.weight": torch.zeros(3)}, start)
    ended = videoscene(*command((recipe, material[1]), tmp_path / "run", "--phase", "teacher"))
    assert ended.code == 3
    assert "head.weight is (3,), not (320, 16, 3, 3)" in ended.err
    save_file(tensors, start)
    ended = videoscene(*command((recipe, material[1]), tmp_path / "run", "--phase", "teacher"))
    assert ended.code == 0, ended.err
    trained = load_file(tmp_path / "run" / "weights" / "teacher" / "student.safetensors")
    assert float((trained["stem.weight"] - tensors["stem.weight"]).abs().max()) < 0.01


@pytest.mark.parametrize(
    ("weights", "leap", "chosen"),
    [("full", [], "policy"), ("student", [], "weights"), ("full", ["--leap", 300], "given")],
)
def test_generate_takes_the_weights(
    whole: Path, videoscene: Run, photos: Photos, tmp_path: Path, weights: str, leap: list[object], chosen: str
) -> None:
    scene = tmp_path / "scene"
    student = whole / "weights" / weights
    ended = videoscene("generate", *photos, "-o", scene, "--size", 64, "--frames", 6, "--student", student, *leap)
    assert ended.code == 0, ended.err
    facts = json.loads((scene / "generate" / "manifest.json").read_text())["student"]
    assert facts["chosen"] == chosen
    assert facts["precision"] == str(dtype_on(torch.device("cpu"))).removeprefix("torch.")
    assert facts["t"] in ({"policy": (99, 299), "weights": (459,), "given": (300,)}[chosen])
    made, render = read_clip(scene / "generate"), read_clip(scene / "render")
    assert not torch.equal(made.frames, render.frames)
    assert made.coverage is not None
    assert render.coverage is not None
    assert torch.equal(made.coverage, render.coverage), "the map of what was seen is kept"
    again = videoscene("generate", scene, "-o", tmp_path / "again", "--student", student, *leap)
    assert again.code == 0
    assert torch.equal(read_clip(tmp_path / "again" / "generate").frames, made.frames), "the same seed, the same clip"


@pytest.mark.parametrize(
    ("damage", "told"), [("cut", "sha256"), ("other", "head.weight is (1,), not"), ("config", "network")]
)
def test_generate_refuses_other_weights(
    whole: Path, videoscene: Run, photos: Photos, tmp_path: Path, damage: str, told: str
) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    for path in (whole / "weights" / "student").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    path = folder / "student.safetensors"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        (folder / "manifest.json").unlink()
    if damage == "other":
        save_file(load_file(path) | {"head.weight": torch.zeros(1)}, path)
    if damage == "config":
        (folder / "config.yaml").write_text("model: small\nleap: 459\nnetwork: {width: 9}\n")
    ended = videoscene("generate", *photos, "-o", tmp_path / "o.mp4", "--size", 64, "--frames", 6, "--student", folder)
    assert ended.code == 3
    assert told in ended.err
    assert not (tmp_path / "o.mp4").exists()
