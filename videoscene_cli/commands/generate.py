"""`videoscene generate`: two photographs, or a rendered scene -> the finished video."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stages.errors import InputError
from videoscene_cli.commands.chain import PriorSettings, predict_pair, render_along
from videoscene_cli.commands.finish import finish_video, from_scene, require_render
from videoscene_cli.commands.prior import make_prior
from videoscene_cli.commands.render import make_render
from videoscene_cli.models.session import Session
from videoscene_cli.models.video_student import VideoStudent
from videoscene_cli.results.dry_run import PARTLY, show_plan
from videoscene_cli.results.manifest import Record
from videoscene_cli.results.scene_folder import STAGES, SceneFolder
from videoscene_cli.results.video_file import make_video
from videoscene_cli.terminal import options
from videoscene_cli.terminal.camera_path import PathSettings
from videoscene_cli.terminal.options import Shared, given, with_shared
from videoscene_cli.terminal.pairs_in_folder import pairs_in
from videoscene_cli.terminal.report import Report
from videoscene_cli.terminal.work_list import Work, is_video, read_works, run_each

if TYPE_CHECKING:
    from stages.scene import Gaussians
    from stages.video.video_clip import VideoFrames

Source = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="A B | SCENE | -", show_default=False, help="Two photographs, a rendered scene, or - for a list."
    ),
]
Pairs = Annotated[
    Path | None,
    typer.Option("--pairs", metavar="DIR", help="Every pair NAME_0, NAME_1 in DIR becomes NAME.mp4 in the folder -o."),
]


@with_shared
def generate(
    context: typer.Context, shared: Shared, report: Report, source: Source = None, size: options.Size = options.SIZE,
    cameras: options.CamerasFile = None, path: options.CameraPath = "interp", frames: options.Frames = 49,
    fps: options.Fps = options.FPS, keep_exposure: options.KeepExposure = False,
    student: options.StudentName = options.STUDENT, leap: options.Leap = "auto",
    steps: options.Steps = 1, memory: options.Memory = "auto", pairs: Pairs = None,
) -> None:  # fmt: skip
    """\b
    Examples:
      videoscene generate left.jpg right.jpg -o out.mp4
      videoscene prior left.jpg right.jpg -o scene | videoscene render - | videoscene generate -

    Make the video of the place that two photographs show, or finish the render of a scene.

    -o out.mp4 writes the video, out.mp4.json (the manifest) and out.ply (the Gaussians). -o FOLDER writes a scene
    folder. -o - writes fragmented MP4 to stdout. A SCENE without -o is finished in its own folder.
    """
    if (pairs is None) == (not source):
        raise InputError("bad usage", "give two photographs, a scene, - or --pairs", "videoscene generate --help")
    works = read_works(source or [], shared.out, "both") if pairs is None else pairs_in(pairs, shared.out, report.warn)
    session = Session(shared, report)
    # Refuse options that would do nothing.
    prior_options = given(context, "size", "cameras", "path", "frames", "fps", "keep_exposure")
    if prior_options and not all(work.is_pair for work in works):
        option = prior_options[0].replace("_", "-")
        why = f"--{option} does nothing to a scene that is rendered already"
        raise InputError("bad usage", why, "leave it out, or give it to prior or render")
    student_options = given(context, "leap", "steps", "memory")
    if student_options and student == "none":
        why = f"--{student_options[0]} does nothing without a student"
        raise InputError("bad usage", why, "leave it out, or name a --student")
    # Refuse a scene without a render before the student is looked for, which imports torch.
    if len(works) == 1 and not works[0].is_pair:
        require_render(SceneFolder(works[0].scene, session.hashes))
    # Work on every pair or scene.
    prior, camera_path = PriorSettings(size, cameras), PathSettings(path, frames, fps, keep_exposure)
    video = VideoStudent(student, leap, session, steps, memory)

    def run(work: Work) -> None:
        if work.is_pair:
            from_photos(work, prior, camera_path, video, session)
        else:
            from_scene(SceneFolder(work.scene, session.hashes), work.out, video, session)

    run_each(works, run, report)


def from_photos(work: Work, prior: PriorSettings, path: PathSettings, student: VideoStudent, session: Session) -> None:
    """Run the whole chain on one pair: into a video file in one go, or stage by stage into a scene folder."""
    request = prior.request("generate", work.pair, session, path.options() | student.options(), path.inputs())
    request = replace(request, weights={**request.weights, **student.weights})
    if student.installed:
        student.check_frames(path.count())
    workload = partial(prior.workload, work.pair, path.count(), student.is_small, is_video(work.out))
    if is_video(work.out):

        def make(record: Record) -> tuple[VideoFrames, Gaussians]:
            scene = predict_pair(work.pair, prior, session, record)
            from stages.video.video_clip import VideoClip

            keep = partial(VideoClip.joined, short_side=student.short_side)
            clip = render_along(path, scene.views, scene.gaussians, session, record, keep)
            return finish_video(clip, scene.gaussians, scene.views, student, session, record)

        return make_video(str(work.out), request, make, workload, session)
    scene = SceneFolder(Path(str(work.out)), session.hashes)
    if session.shared.dry_run:
        return show_plan(session, request, PARTLY, [scene.path / stage for stage in STAGES], workload)
    make_prior(work.pair, scene, prior, session, announce=False)
    make_render(scene, scene, path, session, announce=False)
    from_scene(scene, None, student, session)
