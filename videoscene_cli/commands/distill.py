"""`videoscene distill`: training data -> weights of the one-step student or of the prior, phase by phase."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stages.errors import InputError
from stages.files.leftovers import recover
from stages.files.publish import check_writable
from videoscene_cli.models.session import Session
from videoscene_cli.results.manifest import Record
from videoscene_cli.results.produce import is_current
from videoscene_cli.terminal.options import Shared, with_shared
from videoscene_cli.terminal.report import Report
from videoscene_cli.terminal.work_list import require_folder
from videoscene_cli.training.prior_run import PriorRun
from videoscene_cli.training.student_run import StudentRun

if TYPE_CHECKING:
    from stages.distill.recipe_file import Config, Phase
    from videoscene_cli.training.run_folder import Run

Recipe = Annotated[
    str, typer.Option("--config", metavar="NAME|FILE.yaml", help="The recipe: small, cogvideox-5b, prior, or a file.")
]
Clips = Annotated[
    list[str] | None,
    typer.Option(
        "--clips",
        metavar="FOLDER",
        help="Training clips, in place of the recipe's; for a prior, pairs or posed scenes. Repeatable.",
    ),
]
Textures = Annotated[
    str | None,
    typer.Option("--textures", metavar="FOLDER", help="Photographs of surfaces, for the worlds that the recipe makes."),
]
PhaseName = Annotated[
    Literal["monocular", "prior", "teacher", "regression", "student", "policy", "all"],
    typer.Option("--phase", help="Phase to train; all: every phase that has steps in the recipe."),
]


@with_shared
def distill(
    shared: Shared, report: Report, config: Recipe = "small", clips: Clips = None, textures: Textures = None,
    phase: PhaseName = "all",
) -> None:  # fmt: skip
    """\b
    Examples:
      videoscene distill -o runs/small
      videoscene distill -o runs/small --clips clips --config recipe.yaml --phase student
      videoscene distill -o runs/prior --config prior

    Train the video student: a teacher of many steps, leap flow distillation into one step, and the policy that picks
    the leap step. The training clips are made first, with the prior that --weights names. With --config prior, train
    the prior: its monocular branch on single pictures, then all of it on pairs.

    If a run is killed, the same command continues from the last checkpoint. `generate --student` takes
    runs/NAME/weights/full, and --weights takes runs/NAME/weights/prior. log.jsonl and samples/ show the progress.
    --force trains the phases again, and removes the results of those that start from them.
    On several GPUs: torchrun --nproc-per-node 8 $(command -v videoscene) distill ...
    """
    from stages.distill.recipe_file import find_config, read_config

    if shared.out is None:
        raise InputError("bad usage", "no place for the run is given", "add -o runs/NAME")
    require_folder(shared.out)
    settings = read_config(find_config(config))
    if textures is not None:
        settings = replace(settings, data=replace(settings.data, textures=textures))
    kind = PriorRun if settings.trains_prior else StudentRun
    training: Run = kind(Path(shared.out), settings, tuple(clips or ()), Session(shared, report))
    phases = _phases(settings, phase)
    check_writable(training.run / "manifest.json")
    if shared.dry_run:
        return _show_plan(training, phases, report)
    if shared.force:
        training.require_start(phases)
    first = training.workers.rank == 0
    for name in phases if first and shared.force else ():
        training.forget(name)
    training.workers.wait()
    for name in phases:
        record, manifest = Record(), training.weights(name) / "manifest.json"
        current = is_current(training.request(name), manifest, manifest.parent, False)
        if first and current:  # remove what a killed process may have left beside the result
            recover(manifest.parent)
        if first and not current:
            training.note_config()
        if not current:
            training.train(name, record)
        if first:
            training.conclude()
            facts = {"phase": name, "manifest": str(manifest), "seconds": record.seconds}
            report.done(str(manifest.parent), current, command="distill", **facts)


def _phases(config: Config, phase: str) -> list[Phase]:
    """The phases to train, in order. Raises InputError when the phase asked for has no steps, or none has any."""
    with_steps = config.phases
    if phase != "all" and phase not in with_steps:
        hint = f"phases with steps: {', '.join(with_steps) or 'none'}"
        raise InputError("nothing to train", f"the recipe gives the {phase} 0 steps", hint)
    if not with_steps:
        raise InputError("nothing to train", "the recipe gives every phase 0 steps", "write steps: N into its sections")
    return [name for name in with_steps if phase in ("all", name)]


def _show_plan(training: Run, phases: list[Phase], report: Report) -> None:
    config = training.config
    plan = {
        "command": "distill",
        "run": str(training.run),
        "clips": training.planned_clips(),
        "device": str(training.session.device),
        "phases": {name: f"{getattr(config, name).steps} steps" for name in phases},
        "outputs": [str(training.weights(name)) for name in phases],
        "config": config.to_dict(),
    }
    report.plan(plan)
