"""The output of a command: results on stdout, messages on stderr, and the exit code at the end.

stdout holds one line per finished result (its path, or a JSON object with --json) and nothing else, so it can be piped.
"""

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from typing import Any, BinaryIO

import typer

from stages.errors import DeviceError, InputError, StageError, WeightsError
from videoscene_cli.terminal.standard_streams import is_closed_stdout

Advance = Callable[..., None]
"""Reports progress: (done, total), and optionally a new label."""


class ExitCode(IntEnum):
    """The exit codes of every command (README, "Exit codes")."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    WEIGHTS = 3
    DEVICE = 4
    INTERRUPTED = 130


class Report:
    """The output of one command.

    json: print a JSON object per result in place of its path.  quiet: print only errors and warnings.
    verbose: print tracebacks and the seconds of each stage too.
    Results go to the stdout that was open when the report was created. While a command runs, what libraries print goes
    to stderr (options.with_shared).
    """

    def __init__(self, json: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        self._json, self._quiet, self.verbose = json, quiet, verbose
        self._stdout = sys.stdout

    def done(self, path: str, up_to_date: bool, **facts: Any) -> None:
        """Print one finished result: its path, or with --json an object that begins with it.

        facts: the rest of the object.
        """
        if up_to_date:
            self.note(f"{path} is up to date")
        elif "seconds" in facts:
            self.detail("seconds: " + ", ".join(f"{stage} {value:g}" for stage, value in facts["seconds"].items()))
        self.data(path, {"path": path, "up_to_date": up_to_date, **facts})

    def data(self, text: str, record: dict[str, Any]) -> None:
        """Print one result on stdout: `text`, or with --json `record` on one line."""
        self._stdout.write((json.dumps(record) if self._json else text) + "\n")
        self._stdout.flush()

    def plan(self, plan: dict[str, Any]) -> None:
        """Print what a command would do: one `key: value` per line, or with --json one object."""
        self.data("\n".join(f"{key}: {value}" for key, value in plan.items()), plan)

    def stream(self) -> BinaryIO:
        """stdout as bytes, for a video. Raises InputError if it is a terminal or closed."""
        if is_closed_stdout(self._stdout):
            raise InputError("no video on stdout", "stdout is closed", "give -o out.mp4, or pipe the video")
        if self._stdout.isatty():
            why = "-o - writes binary data"
            raise InputError("no video on a terminal", why, "pipe it: videoscene generate A B -o - | ffplay -")
        return self._stdout.buffer

    def note(self, text: str) -> None:
        """Print a message of one line, unless --quiet."""
        if not self._quiet:
            _print_message(text)

    def detail(self, text: str) -> None:
        """Print a message of one line, with --verbose."""
        if self.verbose:
            _print_message(text)

    def warn(self, text: str) -> None:
        """Print a warning of one line."""
        _print_message("warning: " + " ".join(text.split()))

    def error(self, error: BaseException) -> ExitCode:
        """Print what failed in three lines, after the traceback if --verbose, and return the exit code."""
        if self.verbose:
            traceback.print_exception(error, file=sys.stderr)
        code, what, why, hint = explain(error)
        _print_message(f"error: {what}\n  why: {why}\n  try: {hint}")
        return code

    @contextmanager
    def progress(self, label: str) -> Iterator[Advance]:
        """Show progress on stderr, if it is a terminal: a spinner, then a bar once the caller reports (done, total).

        A third argument of the report replaces the label.
        """
        if self._quiet or not sys.stderr.isatty():
            yield lambda done, total, text="": None
            return
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(label, total=None)
            yield lambda done, total, text=label: bar.update(task, completed=done, total=total, description=text)


def explain(error: BaseException) -> tuple[ExitCode, str, str, str]:
    """The exit code of an error that ends a command, and its message: what failed, why, what to try."""
    if isinstance(error, StageError):
        classes = {InputError: ExitCode.USAGE, WeightsError: ExitCode.WEIGHTS, DeviceError: ExitCode.DEVICE}
        code = next((code for kind, code in classes.items() if isinstance(error, kind)), ExitCode.FAILED)
        what, why, hint = (" ".join(line.split()) for line in (error.what, error.why, error.hint))
        return code, what, why, hint
    if isinstance(error, typer.TyperException):
        command = error.ctx.command_path if getattr(error, "ctx", None) else "videoscene"  # type: ignore[attr-defined]
        return ExitCode.USAGE, "bad usage", " ".join(error.format_message().split()), f"{command} --help"
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED, "interrupted", "stopped by the user", "the same command goes on with what is left"
    by_name = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)  # torch's own
    if isinstance(error, MemoryError) or by_name:
        return ExitCode.DEVICE, "out of memory", _first_line(error), "a smaller --size, or --device cpu"
    if isinstance(error, OSError):
        hint = "check the path, its permissions and the free space"
        return ExitCode.FAILED, "cannot read or write a file", _first_line(error), hint
    return ExitCode.FAILED, "unexpected failure", _first_line(error), "run again with -v and report the traceback"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _print_message(text: str) -> None:
    with suppress(OSError):  # nobody reads stderr any more, which changes neither the work nor the exit code
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
