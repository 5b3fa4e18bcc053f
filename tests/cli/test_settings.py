"""Where a value comes from: flag, environment, --config, default, in this order."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ended

Run = Callable[..., Ended]
Photos = tuple[Path, Path]


@pytest.fixture
def plan(videoscene: Run, photos: Photos, tmp_path: Path) -> Callable[..., dict[str, object]]:
    def run(*arguments: object) -> dict[str, object]:
        ended = videoscene("generate", *photos, "-o", tmp_path / "o.mp4", "--dry-run", "--json", *arguments)
        assert ended.code == 0, ended.err
        document: dict[str, object] = json.loads(ended.out)
        return document

    return run


def test_flag_over_config_over_default(plan: Callable[..., dict[str, dict[str, object]]], tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("size: 96\nframes: 7\npath: orbit\n")
    defaults = {
        "size": 480,
        "frames": 49,
        "path": "interp",
        "keep_exposure": False,
        "fps": 16.0,
        "seed": 0,
        "student": "small",
        "leap": "auto",
        "steps": 1,
    }
    assert plan()["options"] == defaults
    options = plan("--config", config, "--frames", 5)["options"]
    assert (options["size"], options["frames"], options["path"]) == (96, 5, "orbit")


def test_environment_over_config(
    plan: Callable[..., dict[str, object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "c.yaml"
    (tmp_path / "other.safetensors").write_bytes(b"other")
    config.write_text(f"weights: {tmp_path / 'other.safetensors'}\ndevice: cuda:99\n")
    monkeypatch.setenv("VIDEOSCENE_DEVICE", "cpu")
    document = plan("--config", config)
    assert document["device"] == "cpu"
    assert "other" not in json.dumps(document["weights"])
    monkeypatch.delenv("VIDEOSCENE_WEIGHTS")
    assert "other" in json.dumps(plan("--config", config)["weights"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sise: 96", ["sise", "size"]),
        ("config: other.yaml", ["config"]),
        ("size: [96]", ["size", "list"]),
        ("seed: big", ["seed", "not a number"]),
        ("seed: yes", ["seed", "not a number"]),
        ("seed: true", ["seed is true, not a number"]),
        ("size:", ["size is empty"]),
        ("seed: 9.5", ["not a whole number"]),
        ("seed: '9'", ["not a number"]),
        ("device: false", ["device is false, not a word"]),
        ("force: yes", ["force", "not true or false"]),
        ("size: 96\nsize: 96", ["size is given twice"]),
        ("seed: 12345678901234567890123", ["--seed", "2^63"]),
        ("size: 60", ["photo, or a number of pixels"]),
        ("- size", ["mapping"]),
        ("", ["mapping"]),
        ("size: {", ["c.yaml"]),
        ("seed: 2001-99-99", ["c.yaml"]),
        ("[" * 5000, ["c.yaml"]),
        ("!!python/object/apply:os.system ['true']", ["c.yaml"]),
    ],
)
def test_a_bad_config_is_2(videoscene: Run, photos: Photos, tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "c.yaml").write_text(text)
    ended = videoscene("prior", *photos, "-o", tmp_path / "s", "--config", tmp_path / "c.yaml")
    assert (ended.code, len(ended.err.splitlines())) == (2, 3), ended.err
    assert all(word in ended.err for word in words)


def test_numbers_of_a_config_are_decimal(plan: Callable[..., dict[str, dict[str, object]]], tmp_path: Path) -> None:
    """In YAML 1.1, 010 is eight and 1e1 is text. A byte order mark changes nothing."""
    config = tmp_path / "c.yaml"
    config.write_text("frames: 010\nfps: 1e1\n", encoding="utf-16")
    options = plan("--config", config)["options"]
    assert (options["frames"], options["fps"]) == (10, 10.0)


@pytest.mark.parametrize("option", ["--seed", "--frames", "--steps"])
def test_a_number_of_23_digits_is_2(videoscene: Run, photos: Photos, tmp_path: Path, option: str) -> None:
    ended = videoscene("generate", *photos, "-o", tmp_path / "o.mp4", option, "1" * 23)
    assert (ended.code, len(ended.err.splitlines())) == (2, 3), ended.err


def test_a_missing_config_is_2(videoscene: Run, tmp_path: Path) -> None:
    assert videoscene("render", "s", "--config", tmp_path / "none.yaml").code == 2
