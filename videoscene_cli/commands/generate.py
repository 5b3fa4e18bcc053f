"""`videoscene generate`: two photographs, or a rendered scene -> the finished video."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stages.errors import InputError
from stages.files.publish import check_writable
from videoscene_cli.commands.prior import PriorSettings, make_prior, predict_pair
from videoscene_cli.commands.render import make_render, render_along
from videoscene_cli.models.session import Session
from videoscene_cli.models.video_student import VideoStudent
from videoscene_cli.results import scene_folder, video_file
from videoscene_cli.results.dry_run import show_plan
from videoscene_cli.results.manifest import Record, Request, is_current
from videoscene_cli.terminal import options
from videoscene_cli.terminal.camera_path import PathSettings
from videoscene_cli.terminal.options import Shared, given, with_shared
from videoscene_cli.terminal.report import Report
from videoscene_cli.terminal.work_list import Work, is_video, read_works, run_each

if TYPE_CHECKING:
    from stages.scene import Clip, Gaussians

Source = Annotated[
    list[str], typer.Argument(metavar="A B | SCENE | -", show_default=False, help="Two photographs, a rendered scene, or - for a list.")
]

COPIED = ("inputs", "prior", "render")  # what a new scene folder gets from the one that is finished


@with_shared
def generate(
    context: typer.Context, source: Source, shared: Shared, report: Report, size: options.Size = 256,
    cameras: options.CamerasFile = None, path: options.CameraPath = "interp", frames: options.Frames = 49, fps: options.Fps = 8.0,
    student: options.StudentName = options.STUDENT, leap: options.Leap = "auto", steps: options.Steps = 1,
) -> None:  # fmt: skip
    """\b
    Examples:
      videoscene generate left.jpg right.jpg -o out.mp4
      videoscene prior left.jpg right.jpg -o scene | videoscene render - | videoscene generate -

    Make the video of the place that two photographs show, or finish the render of a scene.

    -o out.mp4 leaves the video, out.mp4.json (the manifest) and out.ply (the Gaussians); -o FOLDER leaves a whole scene folder; -o - writes
    fragmented MP4 to stdout. A SCENE without -o is finished in its own folder.
    """
    works, session = read_works(source, shared.out, "both"), Session(shared, report)
    early = given(context, "size", "cameras", "path", "frames", "fps")
    if early and not all(work.is_pair for work in works):
        why = f"--{early[0]} does nothing to a scene that is rendered already"
        raise InputError("bad usage", why, "leave it out, or give it to prior or render")
    late = given(context, "leap", "steps")
    if late and student == "none":
        raise InputError("bad usage", f"--{late[0]} does nothing without a student", "leave it out, or name a --student")
    prior, camera_path, video = PriorSettings(size, cameras), PathSettings(path, frames, fps), VideoStudent(student, leap, session, steps)

    def run(work: Work) -> None:
        if work.is_pair:
            from_photos(work, prior, camera_path, video, session)
        else:
            from_scene(work.scene, work.out, video, session)

    run_each(works, run, report)


def from_photos(work: Work, prior: PriorSettings, path: PathSettings, student: VideoStudent, session: Session) -> None:
    """The whole chain on one pair: into a video file in one go, or stage by stage into a scene folder."""
    out = Path(str(work.out))
    request = prior.request("generate", work.pair, session, path.options() | student.options(), path.inputs())
    request = replace(request, weights={**request.weights, **student.weights})
    if student.installed:
        student.check_frames(path.count())
    if not is_video(work.out):
        if session.shared.dry_run:
            return show_plan(session, request, None, [out / stage for stage in scene_folder.STAGES])
        make_prior(work.pair, out, prior, session, announce=False)
        make_render(out, out, path, session, announce=False)
        return from_scene(out, None, student, session)

    def make(record: Record) -> tuple[Clip, Gaussians]:
        views, prediction = predict_pair(work.pair, prior, session, record)
        clip = render_along(path, views, prediction.gaussians, session, record)
        return student.repair(clip, views, record), prediction.gaussians

    video_file.make_video(str(work.out), request, make, session)


def from_scene(scene: Path, out: str | None, student: VideoStudent, session: Session) -> None:
    """Finish the render of a scene: in its folder, in a new scene folder, or as a video file."""
    rendered = scene_folder.require_chain(scene, "render", f"videoscene render {scene}")["render"]
    request = Request("generate", {"render": rendered["fingerprint"]} | student.options(), {}, student.weights)

    def make(record: Record) -> tuple[Clip, Gaussians]:
        with record.stage("start"):
            gaussians, views = scene_folder.load_prior(scene)
            clip = scene_folder.load_render(scene)
        student.check_frames(len(clip.cameras))
        return student.repair(clip, views, record), gaussians

    if is_video(out):
        return video_file.make_video(str(out), request, make, session)
    target = Path(out or scene)
    manifest = target / "generate" / "manifest.json"
    current = is_current(request, manifest, manifest.parent, session.shared.force, touch=not session.shared.dry_run)
    if not current:
        scene_folder.check_copies(scene, target, COPIED, session.shared.force)
    if session.shared.dry_run:
        return show_plan(session, request, current, [manifest.parent])
    record = Record()
    if not current:
        check_writable(manifest)
        clip, _ = make(record)
        scene_folder.copy_stages(scene, target, COPIED)
        scene_folder.save_clip(manifest.parent, clip, request, record)
    session.report.done(str(target), current, command="generate", manifest=str(manifest), seconds=record.seconds)
