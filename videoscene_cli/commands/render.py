"""`videoscene render`: the Gaussians of a scene along a camera path -> frames, coverage, preview."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stages.files.publish import check_writable
from videoscene_cli import scenes
from videoscene_cli.artifact import Record, Request, is_current
from videoscene_cli.engine import Engine
from videoscene_cli.options import CameraPath, Fps, Frames, Shared, with_shared
from videoscene_cli.paths import PathSettings, cameras_along
from videoscene_cli.plan import show_plan
from videoscene_cli.report import Report
from videoscene_cli.sources import read_works, run_each

if TYPE_CHECKING:
    from stages.scene import Clip, Gaussians, Views

Scene = Annotated[str, typer.Argument(metavar="SCENE | -", show_default=False, help="A scene folder of `prior`, or - for a list on stdin.")]


@with_shared
def render(scene: Scene, shared: Shared, report: Report, path: CameraPath = "interp", frames: Frames = 49, fps: Fps = 8.0) -> None:
    """\b
    Examples:
      videoscene render scene
      videoscene render scene --path orbit --frames 25 -o scene-orbit

    Draw the scene's Gaussians along a camera path, by default from the first photograph to the second.

    The result goes into SCENE/render. With -o it goes into a new scene folder, which gets copies of the inputs and the prior.
    """
    works, engine, settings = read_works([scene], shared.out, "scenes"), Engine(shared, report), PathSettings(path, frames, fps)
    run_each(works, lambda work: make_render(work.scene, Path(work.out or work.scene), settings, engine), report)


def make_render(source: Path, scene: Path, settings: PathSettings, engine: Engine, announce: bool = True) -> None:
    """Make the render of the prior of `source` in `scene`, which may be the same folder, unless it is there."""
    manifest = scene / "render" / "manifest.json"
    scenes.require_stage(source, "prior", f"videoscene prior A B -o {source}")
    files = {"gaussians": source / "prior" / "gaussians.ply", "cameras": source / "prior" / "transforms.json", **settings.inputs()}
    request = Request("render", settings.options(), files)
    current = is_current(request, manifest, manifest.parent, engine.shared.force, touch=not engine.shared.dry_run)
    if not current:
        scenes.check_copies(source, scene, ["inputs", "prior"], engine.shared.force)
    if engine.shared.dry_run:
        return show_plan(engine, request, current, [manifest.parent])
    record = Record()
    if not current:
        check_writable(manifest)
        with record.stage("start"):
            gaussians, views = scenes.load_prior(source)
        clip = render_along(settings, views, gaussians, engine, record)
        scenes.copy_stages(source, scene, ["inputs", "prior"])
        scenes.save_clip(manifest.parent, clip, request, record)
    if announce:
        engine.report.done(str(scene), current, command="render", manifest=str(manifest), seconds=record.seconds)


def render_along(settings: PathSettings, inputs: Views, gaussians: Gaussians, engine: Engine, record: Record) -> Clip:
    """The stage itself: lay the path, draw every frame."""
    from stages.render import render as draw
    from stages.scene import Clip

    record.device = str(engine.device)
    with record.stage("render"), engine.report.progress("render") as advance:
        gaussians = gaussians.to(engine.device)
        cameras = cameras_along(settings, inputs.cameras, gaussians).to(gaussians.means)
        clip = draw(gaussians, cameras, settings.fps, advance, inputs)
    coverage = None if clip.coverage is None else clip.coverage.cpu()
    record.facts |= {"frames": len(cameras), "coverage": None if coverage is None else round(float(coverage.mean()), 4)}
    depth = None if clip.depth is None else clip.depth.cpu()
    return Clip(clip.frames.cpu(), clip.cameras.to("cpu"), coverage, clip.fps, depth)
