"""Figures of finished scenes whose truth is unknown: SCENE -> SCENE/evaluate."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.errors import InputError
from videoscene_cli.models.session import Session
from videoscene_cli.results.manifest import Record
from videoscene_cli.results.produce import Result, produce
from videoscene_cli.results.request import Request
from videoscene_cli.results.scene_folder import SceneFolder, files_below
from videoscene_cli.terminal.work_list import Work, read_works, require_apart, run_each, scene_name

CLIPS = ("render", "generate")  # the stages of a scene that hold a clip
# Figures that are printed.
SHOWN = (
    "temporal flickering",
    "mean flow",
    "verified",
    "epipolar error",
    "depth difference",
    "re-render psnr",
    "coverage",
)


def evaluate_scenes(arguments: Sequence[str], out: str | None, session: Session) -> None:
    """Measure the clips of each scene, and print a line per clip and the path of metrics.json.

    arguments: scene folders, or - for a list on stdin.  out: folder of the results; by default each scene's own folder.
    A failure does not stop the rest.
    """
    if list(arguments) == ["-"]:
        works = read_works(arguments, out, "scenes")
    else:
        paths = [Path(argument) for argument in arguments]
        works = [Work((path,), None if out is None else str(Path(out) / scene_name(path))) for path in paths]
        require_apart(works)

    def run(work: Work) -> None:
        target = Path(work.out) if work.out else work.scene / "evaluate"
        _evaluate(SceneFolder(work.scene, session.hashes), target, session)

    run_each(works, run, session.report)


def _evaluate(scene: SceneFolder, target: Path, session: Session) -> None:
    """Measure the clips of one scene into `target`."""
    # Find the clips, and check that they belong together, before the metrics are imported, which takes seconds.
    hint = f"videoscene generate A B -o {scene.path}"
    scene.require_folder(hint)
    clips = [stage for stage in CLIPS if (scene.path / stage / "manifest.json").exists()]
    if not clips:
        why = "it has neither a finished render nor a finished generate"
        raise InputError(f"nothing to evaluate in {scene.path}", why, hint)
    refined = ["reconstruct"] if (scene.path / "reconstruct" / "manifest.json").exists() else []
    scene.require_chain(clips[-1], hint)
    for stage in refined:
        scene.require(stage, hint)
    # Measure them, unless the result is up to date.
    from stages.evaluate.without_truth import PROTOCOL
    from stages.files.documents import read_json
    from stages.files.publish import publish, write_json

    manifests = {stage: scene.path / stage / "manifest.json" for stage in ("prior", *clips, *refined)}
    request = Request("evaluate", {"protocol": PROTOCOL}, manifests, hashes=session.hashes)
    result = Result(target / "metrics.json", target / "manifest.json", (target,), (target,))

    def make(record: Record) -> None:
        with publish(target) as partial:
            measured = {stage: _measure(scene, stage, partial, session, record) for stage in clips}
            document = {"protocol": PROTOCOL} | {
                part: {stage: figures[part] for stage, figures in measured.items()} for part in ("scene", "frames")
            }
            write_json(partial / "metrics.json", document)
            record.write_manifest(partial / "manifest.json", request, files_below(partial))

    current = produce(session, request, result, make, announce=False, follow=True)
    if current is not None:
        for stage, figures in read_json(result.path)["scene"].items():
            _print(scene.path, stage, figures, session)
        session.report.done(str(result.path), current, command="evaluate", manifest=str(result.manifest))


def _measure(scene: SceneFolder, stage: str, folder: Path, session: Session, record: Record) -> dict[str, Any]:
    """The figures of one clip. A picture of its matches goes into `folder`."""
    from stages.evaluate.without_truth import match_clip, measure_scene
    from stages.files.images import write_png
    from stages.files.ply import read_ply
    from stages.metrics.camera_consistency import plot_matches
    from stages.prior.matching import load_matcher

    with record.stage("start"):
        home, (prior, views) = session.home, scene.load_prior()
        clip, prior, views = scene.load_clip(stage).to(home).clip(), prior.to(home), (views.full or views).to(home)
        refined = scene.path / "reconstruct" / "gaussians.ply"
        gaussians = read_ply(refined).to(home) if refined.exists() else None
    with record.stage("matches"):
        pairs = match_clip(clip, load_matcher(home))
    with record.stage("measure"):
        figures = measure_scene(clip, views, prior, gaussians, pairs)
    if pairs:
        last = pairs[-1]
        image_a, image_b = clip.frames[list(last.frames)]
        picture = plot_matches(image_a, image_b, last.points_a, last.points_b, last.good)
        write_png(folder / f"matches-{stage}.png", picture)
    return figures


def _print(scene: Path, stage: str, figures: dict[str, Any], session: Session) -> None:
    ends = [photograph["psnr"] for photograph in figures["photographs"] if photograph]
    shown = {
        "psnr at the photographs": min(ends) if ends and None not in ends else "n/a",
        **{name: figures[name] for name in SHOWN},
    }
    text = "  ".join(
        f"{name} {format(value, '.4g') if isinstance(value, float) else value or 'none'}"
        for name, value in shown.items()
    )
    session.report.data(f"{scene.name:24s} {stage:9s} {text}", {"scene": str(scene), "clip": stage, **figures})
