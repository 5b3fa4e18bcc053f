"""`videoscene evaluate`: methods on cases with true frames, finished scenes, sets of clips -> measured values."""

from pathlib import Path
from typing import Annotated

import typer

from stages.errors import InputError
from videoscene_cli.evaluation.benchmark import benchmark as time_stages
from videoscene_cli.evaluation.jobs import TwoViewRun
from videoscene_cli.evaluation.methods import METHODS, Setup, with_unposed
from videoscene_cli.evaluation.report_files import write_tables
from videoscene_cli.evaluation.scene_report import evaluate_scenes
from videoscene_cli.evaluation.set_report import evaluate_sets
from videoscene_cli.evaluation.two_view_report import evaluate_two_view
from videoscene_cli.models.session import Session
from videoscene_cli.terminal.options import STUDENT, Shared, StudentName, given, with_shared
from videoscene_cli.terminal.report import Report
from videoscene_cli.terminal.work_list import require_folder

Scenes = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SCENE... | -",
        show_default=False,
        help="Finished scenes; with --two-view, scenes with true frames; with --benchmark, two photographs.",
    ),
]
TwoView = Annotated[
    bool, typer.Option("--two-view", help="Run methods on the cases of pairs.json and compare with the truth.")
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        metavar="|".join(METHODS),
        help="Method to run, by default render. NAME-N takes N sampler steps. Repeatable.",
    ),
]
Unposed = Annotated[
    bool, typer.Option("--unposed", help="Run each method also with cameras estimated from the photographs.")
]
Keep = Annotated[bool, typer.Option("--keep", help="Keep the frames of the methods.")]
Real = Annotated[
    Path | None, typer.Option(metavar="DIR", help="A set of real clips (mp4 files, folders of frames), for --fake.")
]
Fake = Annotated[Path | None, typer.Option(metavar="DIR", help="A set of generated clips of the same length and size.")]
Tables = Annotated[
    Path | None,
    typer.Option(
        "--report", metavar="OUT", help="Write tables of the --two-view report in OUT, or of those in its folders."
    ),
]
Benchmark = Annotated[
    bool, typer.Option("--benchmark", help="Time every stage on two photographs, a first run and later ones.")
]
Jobs = Annotated[int, typer.Option(metavar="N", min=1, help="Number of cases at a time, each in its own process.")]

# The options that only some reports take.
OPTIONS = {"--two-view": {"method", "keep", "jobs", "student", "unposed"}, "--benchmark": {"student"}}


@with_shared
def evaluate(
    context: typer.Context, shared: Shared, report: Report, scenes: Scenes = None, two_view: TwoView = False,
    method: Methods = None, keep: Keep = False, jobs: Jobs = 1, real: Real = None, fake: Fake = None,
    tables: Tables = None, student: StudentName = STUDENT, unposed: Unposed = False, benchmark: Benchmark = False,
    ) -> None:  # fmt: skip
    """\b
    Examples:
      videoscene evaluate scene
      videoscene evaluate --two-view posed/val --method crossfade --method render -o out
      videoscene evaluate --report out

    Measure the clips of finished scenes: do the ends match the photographs, do frames flicker, how do they move, do
    they show one rigid scene? The results go to SCENE/evaluate.

    --two-view: a SCENE is a folder with transforms.json and pairs.json, a COLMAP scene, or a folder of RealEstate10K
    chunks (then name the .json of their cases too). Methods produce the missing frames, which are compared with the
    truth. One line per case and the means are printed. A stopped run continues; a bad scene does not stop the rest.
    --real, --fake: the Frechet and kernel video distance of two sets.
    """
    # Find out which report is asked for.
    require_folder(shared.out)
    kinds = {
        "--two-view": two_view,
        "--real, --fake": bool(real or fake),
        "--report": tables is not None,
        "--benchmark": benchmark,
    }
    chosen = [kind for kind, wanted in kinds.items() if wanted]
    _require_one_report(chosen, given(context, *OPTIONS["--two-view"]), scenes)
    session, methods = Session(shared, report), list(dict.fromkeys(method or ["render"]))
    # Make that report.
    if tables is not None:
        return write_tables(tables, session)
    if real is not None or fake is not None:
        if real is None or fake is None or shared.out is None:
            why = "--real, --fake and -o go together"
            raise InputError("bad usage", why, "videoscene evaluate --real DIR --fake DIR -o FOLDER")
        return evaluate_sets(real, fake, Path(shared.out), session)
    if not scenes:
        why = "no scene was given"
        raise InputError("bad usage", why, "videoscene evaluate SCENE..., or --two-view DIR... -o FOLDER")
    setup = Setup(shared, student)
    if benchmark:
        if shared.out is None:
            why = "-o is missing"
            raise InputError("bad usage", why, "videoscene evaluate --benchmark left.jpg right.jpg -o FOLDER")
        return time_stages([Path(photograph) for photograph in scenes], Path(shared.out), setup, session)
    if not two_view:
        return evaluate_scenes(scenes, shared.out, session)
    usage = f"videoscene evaluate --two-view DIR... --method {'|'.join(METHODS)} -o FOLDER"
    if shared.out is None:
        raise InputError("bad usage", "-o is missing", usage)
    run = TwoViewRun(tuple(with_unposed(methods) if unposed else methods), Path(shared.out), keep, jobs, setup)
    evaluate_two_view([Path(scene) for scene in scenes], run, session)


def _require_one_report(kinds: list[str], options: list[str], scenes: list[str] | None) -> None:
    """Raise InputError for two kinds of report at once, and for options or scenes that the report would ignore."""
    if len(kinds) > 1:
        raise InputError("bad usage", f"{' and '.join(kinds)} are different reports", "ask for one at a time")
    kind = kinds[0] if kinds else "a report of a scene"
    useless = sorted(set(options) - OPTIONS.get(kind, set()))
    if useless:
        raise InputError("bad usage", f"--{useless[0]} does nothing for {kind}", "leave it out; --two-view takes it")
    if scenes and kind in ("--real, --fake", "--report"):
        raise InputError("bad usage", f"{scenes[0]} does nothing for {kind}", "leave it out")
