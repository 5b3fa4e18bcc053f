"""`videoscene render`: the Gaussians of a scene along a camera path -> frames, coverage and a preview video."""

from pathlib import Path
from typing import Annotated

import typer

from videoscene_cli.commands.chain import render_along
from videoscene_cli.models.session import Session
from videoscene_cli.results.manifest import Record
from videoscene_cli.results.produce import Result, produce
from videoscene_cli.results.request import Request
from videoscene_cli.results.scene_folder import SceneFolder
from videoscene_cli.terminal.camera_path import PathSettings
from videoscene_cli.terminal.options import FPS, CameraPath, Fps, Frames, KeepExposure, Shared, with_shared
from videoscene_cli.terminal.report import Report
from videoscene_cli.terminal.work_list import Work, read_works, run_each

Scene = Annotated[
    str,
    typer.Argument(
        metavar="SCENE | -", show_default=False, help="A scene folder of `prior`, or - for a list on stdin."
    ),
]


COPIED = ("inputs", "prior")  # stages that a new scene folder gets from the old one


@with_shared
def render(
    scene: Scene,
    shared: Shared,
    report: Report,
    path: CameraPath = "interp",
    frames: Frames = 49,
    fps: Fps = FPS,
    keep_exposure: KeepExposure = False,
) -> None:
    """\b
    Examples:
      videoscene render scene
      videoscene render scene --path orbit --frames 25 -o scene-orbit

    Render the scene's Gaussians along a camera path, by default from the first photograph to the second.

    The result goes into SCENE/render. With -o it goes into a new scene folder, which gets copies of inputs and prior.
    """
    works = read_works([scene], shared.out, "scenes")
    session = Session(shared, report)
    settings = PathSettings(path, frames, fps, keep_exposure)

    def run(work: Work) -> None:
        source, target = (SceneFolder(Path(path), session.hashes) for path in (work.scene, work.out or work.scene))
        make_render(source, target, settings, session)

    run_each(works, run, report)


def make_render(
    source: SceneFolder, scene: SceneFolder, path: PathSettings, session: Session, announce: bool = True
) -> None:
    """Render the prior of `source` into `scene`, which may be the same folder, unless the result is up to date."""
    source.require("prior", f"videoscene prior A B -o {source.path}")
    prior = source.path / "prior"
    files = {"gaussians": prior / "gaussians.ply", "cameras": prior / "transforms.json", **path.inputs()}
    request = Request("render", path.options(), files, hashes=session.hashes)

    def make(record: Record) -> None:
        with record.stage("start"):
            from stages.files.stored_clip import StoredClip

            gaussians, views = source.load_prior()
        clip = render_along(path, views, gaussians, session, record, StoredClip.joined)
        source.copy_stages(scene, COPIED)
        scene.save_clip("render", clip, request, record)

    result = Result.stage(scene.path, "render")
    produce(
        session, request, result, make, check=lambda: source.check_copies(scene, COPIED), announce=announce,
        workload=lambda: source.workload("prior", path.count()),
    )  # fmt: skip
