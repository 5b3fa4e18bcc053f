"""`videoscene evaluate`: methods on cases with a known truth -> figures with their protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stages.errors import InputError
from videoscene_cli.engine import Engine
from videoscene_cli.jobs import METHODS
from videoscene_cli.options import Shared, with_shared
from videoscene_cli.report import Report
from videoscene_cli.two_view import evaluate_two_view

Scenes = Annotated[list[Path], typer.Argument(metavar="DIR...", show_default=False, help="Scene folders, or folders of them.")]
TwoView = Annotated[bool, typer.Option("--two-view", help="Run methods on the cases of pairs.json, compare with the truth.")]
Methods = Annotated[
    list[str] | None, typer.Option("--method", metavar="|".join(METHODS), help="What to run (default render); repeatable.")
]
Keep = Annotated[bool, typer.Option("--keep", help="Keep the frames that the methods made.")]
Jobs = Annotated[int, typer.Option(metavar="N", min=1, help="Cases at a time, each in a process of its own.")]


@with_shared
def evaluate(
    scenes: Scenes, shared: Shared, report: Report, two_view: TwoView = False, method: Methods = None, keep: Keep = False, jobs: Jobs = 1
) -> None:
    """\b
    Examples:
      videoscene evaluate --two-view posed/val -o report
      videoscene evaluate --two-view posed/val --method crossfade --method render -o report --keep

    Measure methods on scenes with a known truth. Prints the figures of every case and the means of each kind of case.

    A scene folder holds transforms.json and pairs.json. A run that was stopped goes on where it was; a bad scene does not stop the rest.
    """
    methods = list(dict.fromkeys(method or ["render"]))
    unknown = [name for name in methods if name not in METHODS]
    usage = f"videoscene evaluate --two-view DIR... --method {'|'.join(METHODS)} -o FOLDER"
    if unknown:
        raise InputError("bad usage", f"{unknown[0]!r} is no method", usage)
    if not two_view or shared.out is None:
        raise InputError("bad usage", "--two-view is missing" if not two_view else "-o is missing", usage)
    evaluate_two_view(scenes, methods, Path(shared.out), keep, jobs, Engine(shared, report))
