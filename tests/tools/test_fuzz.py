"""The fuzz campaign finds what it looks for, and its valid inputs pass."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.program import fake_prior
from tests.tools import fuzz
from tests.tools.fuzz_targets import Target, make_targets
from tests.tools.mutations import mutated


@pytest.fixture(autouse=True)
def _flat_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, function in fake_prior().items():
        monkeypatch.setattr(name, function)


def test_the_same_seed_makes_the_same_changes() -> None:
    data = b'{"w": 96, "name": "a.png"}' * 20
    first, second = ([mutated(data, True, random.Random(k)) for k in range(50)] for _ in range(2))
    assert first == second
    assert sum(changed != data for changed in first) > 40


def test_a_valid_input_of_every_kind_is_no_fault(tmp_path: Path) -> None:
    targets = make_targets(tmp_path / "inputs")
    faults = {t.name: fuzz.attempt(t, t.file.read_bytes(), tmp_path / "inputs") for t in targets if t.name != "weights"}
    assert {name: fault for name, fault in faults.items() if fault} == {}


def raising(_: Path) -> None:
    raise ValueError("a bug")


def writing(path: Path) -> None:
    path.with_name("beside.txt").write_text("x")


@pytest.mark.parametrize(("read", "words"), [(raising, "a bug"), (writing, "wrote beside.txt")])
def test_a_fault_of_a_reader_is_found(tmp_path: Path, read: Callable[[Path], None], words: str) -> None:
    file = tmp_path / "a.txt"
    file.write_text("valid")
    fault = fuzz.attempt(Target("a", file, True, read=read), b"changed", tmp_path)
    assert fault is not None
    assert words in fault
    assert file.read_text() == "valid"


def test_a_fault_of_a_command_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.txt"
    file.write_text("valid")
    target = Target("a", file, True, ("render", str(file), "-o", "OUT"))
    assert fuzz.attempt(target, b"changed", tmp_path) is None, "an error of three lines"
    monkeypatch.setattr(fuzz, "run", lambda _: 0)
    assert fuzz.attempt(target, b"changed", tmp_path) == "exit code 0 without a result"
    monkeypatch.setattr(fuzz, "run", lambda _: 1)
    assert "without three lines" in str(fuzz.attempt(target, b"changed", tmp_path))
