"""`videoscene reconstruct`: a finished clip and its cameras -> a refined Gaussian scene, with exports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stages.files.publish import check_writable
from videoscene_cli import scenes
from videoscene_cli.artifact import Record, is_current
from videoscene_cli.engine import Engine
from videoscene_cli.exports import save_reconstruction
from videoscene_cli.material import Material, Source, find_source
from videoscene_cli.options import CamerasFile, Shared, Size, with_shared
from videoscene_cli.plan import show_plan
from videoscene_cli.report import Report
from videoscene_cli.sources import Work, read_works, run_each

if TYPE_CHECKING:
    from stages.reconstruct import Reconstruction

Scene = Annotated[
    str, typer.Argument(metavar="SCENE | FOLDER | VIDEO | -", show_default=False, help="A finished scene, or posed frames; - for a list.")
]
Steps = Annotated[int, typer.Option(metavar="N", min=1, help="Steps of the optimisation.")]
Count = Annotated[int, typer.Option("--gaussians", metavar="N", min=100, help="The most Gaussians there may be.")]
RefinePoses = Annotated[bool, typer.Option("--refine-poses", help="Let the cameras of generated frames move.")]

SAVE_EVERY = 50  # steps between checkpoints
TELL_EVERY = 50  # steps between lines of --verbose


@dataclass(frozen=True)
class Refinement:
    """--steps, --gaussians and --refine-poses."""

    steps: int
    gaussians: int
    refine_poses: bool


@with_shared
def reconstruct(
    scene: Scene, shared: Shared, report: Report, steps: Steps = 600, gaussians: Count = 200_000, refine_poses: RefinePoses = False,
    cameras: CamerasFile = None, size: Size = 256,
) -> None:
    """\b
    Examples:
      videoscene generate left.jpg right.jpg -o scene && videoscene reconstruct scene
      videoscene reconstruct walk.mp4 --cameras transforms.json -o scene

    Refine the Gaussians of a scene on its photographs and its clip, and export them: PLY, COLMAP, transforms.json, videos.

    A scene of this program must be finished (`generate`). A folder with transforms.json, or a video with --cameras, are photographs from
    known places; --size is for these. The result goes into SCENE/reconstruct. A run that was stopped goes on where it was.
    """
    works, engine, settings = read_works([scene], shared.out, "scenes"), Engine(shared, report), Refinement(steps, gaussians, refine_poses)
    run_each(works, lambda work: _one(work, settings, cameras, size, engine), report)


def _one(work: Work, settings: Refinement, cameras: Path | None, size: int, engine: Engine) -> None:
    options = {"steps": settings.steps, "gaussians": settings.gaussians, "refine_poses": settings.refine_poses, "seed": engine.shared.seed}
    source = find_source(work.scene, cameras, size, options, engine)
    target = Path(work.out or (work.scene if work.scene.is_dir() else work.scene.with_suffix("")))
    manifest = target / "reconstruct" / "manifest.json"
    current = is_current(source.request, manifest, manifest.parent, engine.shared.force)
    if engine.shared.dry_run:
        return show_plan(engine, source.request, current, [manifest.parent])
    record = Record()
    if not current:
        check_writable(manifest)
        checkpoint = target / ".reconstruct.checkpoint"
        material, result = optimise(source, settings, checkpoint, engine, record)
        scenes.copy_stages(work.scene, target, source.copied)
        save_reconstruction(manifest.parent, result, material, source.request, record)
        checkpoint.unlink(missing_ok=True)
    engine.report.done(str(target), current, command="reconstruct", manifest=str(manifest), seconds=record.seconds)


def optimise(source: Source, settings: Refinement, checkpoint: Path, engine: Engine, record: Record) -> tuple[Material, Reconstruction]:
    """The stage itself: start, or go on from the checkpoint of the same request, and refine."""
    from stages.reconstruct import Settings, load_checkpoint, reconstruct, save_checkpoint
    from stages.reconstruct.quality import doubted, quality

    record.device = str(engine.device)
    with record.stage("start"), engine.report.progress("starting"):
        material = source.load(engine)
        state = load_checkpoint(checkpoint, source.request.fingerprint, engine.device)
    if state is not None:
        engine.report.note(f"going on from step {state.step} of {settings.steps}")
    with record.stage("reconstruct"), engine.report.progress("reconstruct") as advance:

        def tell(step: int, total: int, loss: float, psnr: float) -> None:
            advance(step, total)
            if step % TELL_EVERY == 0:
                engine.report.detail(f"step {step} of {total}: loss {loss:.4f}, PSNR {psnr:.2f} dB")

        refinement = Settings(settings.steps, gaussians=settings.gaussians, refine_poses=settings.refine_poses, seed=engine.shared.seed)
        identity = source.request.fingerprint
        result = reconstruct(
            material.gaussians.to(engine.device), material.targets, refinement, state, tell,
            lambda state: save_checkpoint(checkpoint, state, identity), SAVE_EVERY,
        )  # fmt: skip
    with record.stage("measure"):
        measured: dict[str, Any] = {
            "before": quality(material.gaussians.to(engine.device), material.targets, material.targets.cameras),
            "after": quality(result.gaussians, material.targets, result.cameras),
        }
    disagreeing = doubted(result.losses, material.targets.photographs, refinement.tolerance)
    record.facts |= {"gaussians": len(result.gaussians), "psnr": measured, "doubted": disagreeing}
    return material, result
