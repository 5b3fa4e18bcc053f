"""The program as a user meets it: arguments in, exit code, stdout and stderr out."""

import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.photographs import write_photographs
from tests.cli.program import fake_prior
from videoscene_cli import app

PROGRAM = [sys.executable, "-m", "tests.cli.program"]
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ended:
    """How a command line ended."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VIDEOSCENE_CACHE", raising=False)
    weights = tmp_path / "prior.safetensors"
    weights.write_bytes(b"weights")
    monkeypatch.setenv("VIDEOSCENE_WEIGHTS", str(weights))
    for name, function in fake_prior().items():
        monkeypatch.setattr(name, function)


@pytest.fixture
def videoscene(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run one command line in this process."""

    def run(*arguments: object, stdin: str | bytes = "") -> Ended:
        data = stdin if isinstance(stdin, bytes) else stdin.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        capsys.readouterr()
        code = app.run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Start one command line as a process of its own."""

    def start(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        command = [*PROGRAM, *map(str, arguments)]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)  # type: ignore[call-overload,no-any-return]

    return start


@pytest.fixture
def photos(tmp_path: Path) -> tuple[Path, Path]:
    """Two small photographs, 96 x 64."""
    return write_photographs(tmp_path)
