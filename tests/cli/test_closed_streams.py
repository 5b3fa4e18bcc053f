"""A daemon or a cron job may close the standard streams of what it starts."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import PROGRAM, ROOT

Photos = tuple[Path, Path]


def run_closed(descriptor: int, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    """Run the program while a shell keeps one of its streams closed."""
    closing = f'exec "$@" {descriptor}{"<" if descriptor == 0 else ">"}&-'
    return subprocess.run(["sh", "-c", closing, "sh", *PROGRAM, *map(str, arguments)], cwd=ROOT, capture_output=True)


def test_a_closed_stdout_costs_only_the_line_on_it(photos: Photos, tmp_path: Path) -> None:
    ended = run_closed(1, "prior", *photos, "-o", tmp_path / "s", "--size", 64)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert (tmp_path / "s" / "prior" / "manifest.json").is_file()


def test_a_closed_stderr_keeps_the_exit_code(photos: Photos, tmp_path: Path) -> None:
    assert run_closed(2, "prior", photos[0], tmp_path / "nothing.png", "-o", tmp_path / "s").returncode == 2


def test_a_closed_stdin_is_an_empty_list(tmp_path: Path) -> None:
    ended = run_closed(0, "prior", "-", "-o", tmp_path / "s")
    assert ended.returncode == 2
    assert b"the list on stdin is empty" in ended.stderr


def test_a_video_does_not_stream_into_a_closed_stdout(photos: Photos) -> None:
    ended = run_closed(1, "generate", *photos, "-o", "-")
    assert ended.returncode == 2
    assert b"stdout is closed" in ended.stderr


@pytest.mark.parametrize("arguments", [["render", "nowhere"], ["generate"]])
def test_a_reader_of_messages_that_left_keeps_the_exit_code(arguments: list[str]) -> None:
    process = subprocess.Popen(
        [*PROGRAM, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert process.stderr is not None
    process.stderr.close()
    assert process.wait() == 2


def test_the_streams_are_opened_before_other_files() -> None:
    """Else what a library prints on descriptor 1 would go into the next file that is opened."""
    code = "import os; from videoscene_cli.terminal.standard_streams import open_standard_streams as open_all"
    code += "; open_all(); os._exit(os.open('/', 0))"
    ended = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code], cwd=ROOT)
    assert ended.returncode >= 3
