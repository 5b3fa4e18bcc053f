"""The options that commands share, declared once. Values come from flags, the environment, --config or defaults."""

import contextlib
import functools
import inspect
import os
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from stages.errors import InputError
from stages.files.documents import read_yaml
from videoscene_cli.terminal.report import Report

PHOTO = "photo"  # value of --size that stands for the size of the photographs
LEAST_SIZE = 64  # smallest --size, px
MOST = 10**9  # largest number of frames, steps or Gaussians that can be asked for


def _read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make the values of a YAML file the command's defaults. Raises InputError for a bad file or an unknown key."""
    if path is None:
        return None
    path = path.expanduser()
    values = read_yaml(path, "give a YAML file of option: value lines")
    if not isinstance(values, dict):
        raise InputError(f"cannot use {path}", "it is not a mapping", "write option: value lines, such as size: 256")
    parameters = [p for p in context.command.params if p.param_type_name == "option"]
    options = {p.name: p for p in parameters if p.name not in ("config", "help")}
    settings = {str(key).replace("-", "_"): value for key, value in values.items()}
    for key, value in settings.items():
        if key not in options:
            why, hint = f"{key!r} is no option of {context.command_path}", f"known: {', '.join(sorted(options))}"
            raise InputError(f"unknown key in {path}", why, hint)
        listed = isinstance(value, list) and options[key].multiple
        for item in value if listed else [value]:
            fault = _misfit(item, options[key])
            if fault:
                why, hint = f"{key} is {fault}", "give one number, word or true/false, and a word such as no in quotes"
                raise InputError(f"bad value in {path}", why, hint)
    context.default_map = {key: _expanded(value) for key, value in settings.items()}
    return path


def _misfit(value: Any, option: Any) -> str | None:
    """What is wrong with a YAML value for an option of the command line, or None."""
    kind = option.type_descriptor.annotation
    if isinstance(value, (dict, list)):
        return f"a {type(value).__name__}"
    shown = "empty" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)[:40]
    if option.is_flag:
        return None if isinstance(value, bool) else f"{shown}, not true or false"
    if isinstance(value, bool) or value is None:
        return f"{shown}, not a {'number' if kind in (int, float) else 'word'}"
    if kind in (int, float) and not isinstance(value, (int, float)):
        return f"{shown}, not a number"
    return f"{shown}, not a whole number" if kind is int and not isinstance(value, int) else None


def _expanded(value: Any) -> Any:
    """A value with a leading ~ replaced by the home folder. A shell replaces it in -o ~/x, but not in --out=~/x.

    Raises InputError for empty text, such as an unset variable leaves behind.
    """
    if isinstance(value, list):
        return [_expanded(item) for item in value]
    if isinstance(value, str) and not value:
        raise InputError("bad usage", "an option or argument is empty", "is a variable of the shell unset?")
    if isinstance(value, str) and value.startswith("~"):
        return os.path.expanduser(value)
    return value.expanduser() if isinstance(value, Path) and str(value).startswith("~") else value


def _check_seed(seed: int) -> int:
    if seed >= 2**63:
        raise typer.BadParameter(f"{seed} is above 2^63 - 1")
    return seed


def check_count(count: int | None) -> int | None:
    """Refuse a number that no machine can work on."""
    if count is not None and count > MOST:
        raise typer.BadParameter(f"{count} is above {MOST}")
    return count


def _check_device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise typer.BadParameter(f"{name!r} is not one of auto, cpu, cuda, cuda:0, cuda:1, ..., mps")
    return name


def _check_size(size: str) -> str:
    if size != PHOTO and not (re.fullmatch(r"\d{1,9}", size) and int(size) >= LEAST_SIZE):
        raise typer.BadParameter(f"{size!r} is not {PHOTO}, or a number of pixels from {LEAST_SIZE} up")
    return size


def short_side(size: str) -> int | None:
    """The short side that --size asks for, px, or None for that of the photographs."""
    return None if size == PHOTO else int(size)


def _check_leap(leap: str) -> str:
    if leap != "auto" and not (re.fullmatch(r"\d+", leap) and int(leap) < 1000):
        raise typer.BadParameter(f"{leap!r} is not auto or 0 to 999")
    return leap


@dataclass(frozen=True)
class Shared:
    """The options of every command, as the user gave them."""

    out: Annotated[str | None, typer.Option("-o", "--out", metavar="PATH", help="Where the result goes.")] = None
    seed: Annotated[int, typer.Option(metavar="N", min=0, callback=_check_seed, help="Seed of everything random.")] = 0
    device: Annotated[
        str,
        typer.Option(
            envvar="VIDEOSCENE_DEVICE",
            metavar="auto|cpu|cuda[:n]|mps",
            callback=_check_device,
            help="Where to compute.",
        ),
    ] = "auto"
    weights: Annotated[
        str,
        typer.Option(
            envvar="VIDEOSCENE_WEIGHTS", metavar="NAME|PATH", help="Which weights: a known name, a file or a folder."
        ),
    ] = "small"
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", is_eager=True, callback=_read_config, help="Read options from a file."),
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Replace an existing result.")] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and do nothing.")] = False
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per result.")] = False
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but warnings and errors.")] = False
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say more, with tracebacks.")] = False

    def report(self) -> Report:
        """The report that these options ask for."""
        return Report(self.json, self.quiet, self.verbose)


# Options of several commands.
Size = Annotated[
    str,
    typer.Option(
        metavar="PX|photo",
        callback=_check_size,
        help="Short side of the result, at most that of the photographs; photo: equal to it.",
    ),
]
SIZE = "480"  # as in the paper: 720 x 480 of photographs of 3:2
CamerasFile = Annotated[
    Path | None,
    typer.Option(
        "--cameras",
        metavar="FILE.json|FOLDER",
        help="Known cameras, not estimated ones: nerfstudio's transforms.json, or a COLMAP folder.",
    ),
]
CameraPath = Annotated[
    str,
    typer.Option(
        "--path",
        metavar="interp|straight|orbit|spiral|dolly|FILE.json",
        help="The camera path. interp is bent around what is in its way, straight is not.",
    ),
]
Frames = Annotated[
    int,
    typer.Option(
        metavar="N", min=1, callback=check_count, help="Frames along the path; a FILE.json path brings its own number."
    ),
]
Fps = Annotated[float, typer.Option(metavar="RATE", min=0.1, max=1000, help="Frames per second of the video.")]
FPS = 16.0  # twice the paper's rate, which looks jerky
KeepExposure = Annotated[
    bool, typer.Option("--keep-exposure", help="Do not match exposure and light of the two photographs along the path.")
]
StudentName = Annotated[
    str,
    typer.Option(
        "--student",
        metavar="none|small|cogvideox-5b|FOLDER",
        help="What repairs the render: nothing, weights by name, or the weights in a folder.",
    ),
]
STUDENT = "small"  # default of --student
Leap = Annotated[
    str,
    typer.Option(
        "--leap",
        metavar="auto|T",
        callback=_check_leap,
        help="Noise step that the student leaps to; auto lets its policy choose.",
    ),
]
Memory = Annotated[
    Literal["auto", "full", "offload", "tiled", "stream"],
    typer.Option("--memory", help="How much of a GPU's memory cogvideox-5b uses; full is the fastest."),
]
Steps = Annotated[
    int,
    typer.Option(
        "--steps",
        metavar="N",
        min=1,
        callback=check_count,
        help="Steps of the student's sampler; it was trained for one.",
    ),
]


def given(context: typer.Context, *names: str) -> list[str]:
    """Those of the options `names` that the user set, by flag, environment or --config."""
    sources = {name: context.get_parameter_source(name) for name in names}
    return [name for name, source in sources.items() if source is not None and source.name != "DEFAULT"]


def with_shared(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the shared options. It gets them as its arguments `shared: Shared` and `report: Report`.

    An argument of the command replaces the shared option of the same name.

    Errors become three lines on stderr and an exit code. While the command runs, whatever libraries print goes to
    stderr, and a warning is one plain line, because stdout is for results.
    """
    # The command's own parameters, then the shared ones that it does not replace.
    hints = get_type_hints(Shared, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = inspect.signature(command, eval_str=True).parameters.values()
    own = [p for p in parameters if p.name not in ("shared", "report")]
    taken = {p.name for p in own}
    names = [field for field in fields(Shared) if field.name not in taken]
    common = [
        inspect.Parameter(field.name, keyword, default=field.default, annotation=hints[field.name]) for field in names
    ]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        values = {name: _expanded(value) for name, value in values.items()}
        shared = Shared(**{parameter.name: values.pop(parameter.name) for parameter in common})
        report = shared.report()
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: report.warn(str(message))
            try:
                command(**values, shared=shared, report=report)
            except (typer.Exit, BrokenPipeError):
                raise
            except (Exception, KeyboardInterrupt) as error:
                raise typer.Exit(report.error(error)) from error

    # Typer reads the options from the signature.
    run.__signature__ = inspect.Signature(own + common)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in own + common}
    return run
