"""`videoscene render`: the Gaussians of a scene along a camera path -> frames, coverage, preview."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stages.files.publish import check_writable
from videoscene_cli.models.session import Session
from videoscene_cli.results import scene_folder
from videoscene_cli.results.dry_run import show_plan
from videoscene_cli.results.manifest import Record, Request, is_current
from videoscene_cli.terminal.camera_path import PathSettings, cameras_along
from videoscene_cli.terminal.options import CameraPath, Fps, Frames, Shared, with_shared
from videoscene_cli.terminal.report import Report
from videoscene_cli.terminal.work_list import read_works, run_each

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
    works, session, settings = read_works([scene], shared.out, "scenes"), Session(shared, report), PathSettings(path, frames, fps)
    run_each(works, lambda work: make_render(work.scene, Path(work.out or work.scene), settings, session), report)


def make_render(source: Path, scene: Path, settings: PathSettings, session: Session, announce: bool = True) -> None:
    """Make the render of the prior of `source` in `scene`, which may be the same folder, unless it is there."""
    manifest = scene / "render" / "manifest.json"
    scene_folder.require_stage(source, "prior", f"videoscene prior A B -o {source}")
    files = {"gaussians": source / "prior" / "gaussians.ply", "cameras": source / "prior" / "transforms.json", **settings.inputs()}
    request = Request("render", settings.options(), files)
    current = is_current(request, manifest, manifest.parent, session.shared.force, touch=not session.shared.dry_run)
    if not current:
        scene_folder.check_copies(source, scene, ["inputs", "prior"], session.shared.force)
    if session.shared.dry_run:
        return show_plan(session, request, current, [manifest.parent])
    record = Record()
    if not current:
        check_writable(manifest)
        with record.stage("start"):
            gaussians, views = scene_folder.load_prior(source)
        clip = render_along(settings, views, gaussians, session, record)
        scene_folder.copy_stages(source, scene, ["inputs", "prior"])
        scene_folder.save_clip(manifest.parent, clip, request, record)
    if announce:
        session.report.done(str(scene), current, command="render", manifest=str(manifest), seconds=record.seconds)


def render_along(settings: PathSettings, inputs: Views, gaussians: Gaussians, session: Session, record: Record) -> Clip:
    """The stage itself: lay the path, draw every frame."""
    from stages.render import render as draw
    from stages.scene import Clip

    record.device = str(session.device)
    with record.stage("render"), session.report.progress("render") as advance:
        gaussians = gaussians.to(session.device)
        cameras = cameras_along(settings, inputs.cameras, gaussians).to(gaussians.means)
        clip = draw(gaussians, cameras, settings.fps, advance, inputs)
    coverage = None if clip.coverage is None else clip.coverage.cpu()
    record.facts |= {"frames": len(cameras), "coverage": None if coverage is None else round(float(coverage.mean()), 4)}
    depth = None if clip.depth is None else clip.depth.cpu()
    return Clip(clip.frames.cpu(), clip.cameras.to("cpu"), coverage, clip.fps, depth)
