"""Help and version: what they show, and that they are quick because they import nothing heavy."""

import re
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from tests.cli.conftest import Ended
from videoscene_cli import __version__
from videoscene_cli.terminal.options import Shared

COMMANDS = ("prior", "render", "generate", "reconstruct", "evaluate", "distill")
Run = Callable[..., Ended]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_opens_with_two_examples(videoscene: Run, command: str) -> None:
    ended = videoscene(command, "--help")
    lines = [line.strip() for line in ended.out.splitlines() if line.strip()]
    assert ended.code == 0
    assert ended.err == ""
    assert lines[0].startswith("Usage: videoscene " + command)
    assert lines[1] == "Examples:"
    assert all(f"videoscene {command}" in line for line in lines[2:4])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_the_shared_options_and_at_most_eleven_of_its_own(videoscene: Run, command: str) -> None:
    flags = set(re.findall(r"^  (?:-\w, )?--([a-z-]+)", videoscene(command, "--help").out, re.MULTILINE)) - {"help"}
    shared = {field.name.replace("_", "-") for field in fields(Shared)}
    assert shared <= flags
    assert len(flags - shared) <= 11


def test_version_and_the_list_of_commands(videoscene: Run) -> None:
    assert videoscene("--version").out == f"videoscene {__version__}\n"
    listed = videoscene("--help").out
    assert all(f"  {command} " in listed for command in COMMANDS)


def test_no_command_is_bad_usage(videoscene: Run) -> None:
    assert videoscene().code == 2


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], *([command, "--help"] for command in COMMANDS)], ids=" ".join
)
def test_help_imports_no_heavy_package(arguments: list[str]) -> None:
    heavy = ("torch", "numpy", "gsplat", "diffusers", "pycolmap", "kornia", "PIL")
    check = f"sys.exit(', '.join({{*{heavy}}} & {{*sys.modules}}) or 0)"
    code = f"import sys\nfrom videoscene_cli.app import run\nrun({arguments})\n{check}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "missing.png", "also.png", "-o", "out.mp4"],
        ["generate", "text.png", "text.jpg", "-o", "out.mp4"],
        ["generate", "missing"],
        ["prior", "missing.png", "also.png", "-o", "scene"],
        ["render", "missing"],
        ["reconstruct", "missing"],
        ["evaluate", "missing"],
        ["distill", "-o", "run", "--config", "missing.yaml"],
        ["distill", "-o", "run", "--config", "text.png"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_read_is_refused_without_torch(arguments: list[str], tmp_path: Path) -> None:
    """Its import takes seconds, which nobody should wait to hear of a mistyped name."""
    for name in ("text.png", "text.jpg"):
        (tmp_path / name).write_text("no photograph: [")
    run = f"import sys\nfrom videoscene_cli.app import run\ncode = run({arguments})\n"
    code = run + "sys.exit('torch was imported' if 'torch' in sys.modules else code)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")


def processor_time(code: str) -> float:
    """Seconds that a Python program computes for, the least of five runs; waiting for a busy machine does not count."""
    best = float("inf")
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return best


def test_h_is_short_for_help(videoscene: Run) -> None:
    for command in ([], ["generate"]):
        assert videoscene(*command, "-h").out == videoscene(*command, "--help").out != ""


def test_help_starts_at_once() -> None:
    """In 20 times what Python itself takes, or half a second where that is 0.025: slow machines are slow at both."""
    assert processor_time("from videoscene_cli.app import main; main()") < 20 * processor_time("pass")
