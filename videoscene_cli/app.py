"""The `videoscene` program: its commands, its version, and its exit code."""

import os

# Set before torch is imported: idle OpenMP threads must sleep, or torch and the CPU renderer slow each other down.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import sys
from typing import Annotated

import typer

from stages.errors import InputError
from videoscene_cli import __version__
from videoscene_cli.commands.distill import distill
from videoscene_cli.commands.evaluate import evaluate
from videoscene_cli.commands.generate import generate
from videoscene_cli.commands.prior import prior
from videoscene_cli.commands.reconstruct import reconstruct
from videoscene_cli.commands.render import render
from videoscene_cli.models.allocator import keep_freed_memory
from videoscene_cli.terminal.report import ExitCode, Report
from videoscene_cli.terminal.standard_streams import open_standard_streams

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
app.command(short_help="Two photographs -> coarse 3D Gaussians.")(prior)
app.command(short_help="Gaussians and a camera path -> frames and coverage.")(render)
app.command(short_help="Training data -> a student that repairs a render in one step, or a prior.")(distill)
app.command(short_help="Two photographs, or a rendered scene -> the video.")(generate)
app.command(short_help="A finished scene, or frames with cameras -> refined Gaussians and exports.")(reconstruct)
app.command(short_help="Finished scenes, methods, or sets of clips -> measured values.")(evaluate)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"videoscene {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version.")
    ] = False,
) -> None:
    """Two photographs in, a 3D-consistent video out."""


def main() -> None:
    """Run the program on the arguments of the process, then end the process with an ExitCode."""
    open_standard_streams()
    keep_freed_memory()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code. An error is printed as three lines on stderr."""
    try:
        if arguments and os.path.isfile(arguments[0]):
            why, hint = f"{arguments[0]} is a file, not a command", "videoscene generate A B -o out.mp4"
            raise InputError("bad usage", why, hint)
        return int(app(arguments, prog_name="videoscene", standalone_mode=False) or ExitCode.DONE)
    except BrokenPipeError:
        # Whoever read stdout is gone. Python must not complain when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except (Exception, KeyboardInterrupt) as error:
        return Report().error(error)
