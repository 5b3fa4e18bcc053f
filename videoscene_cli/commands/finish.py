"""The last stage of the chain: the repaired clip and one clean cloud, in a scene folder or as a video and a PLY."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videoscene_cli.models.session import Session
from videoscene_cli.models.video_student import VideoStudent
from videoscene_cli.results.manifest import Record
from videoscene_cli.results.produce import Result, produce
from videoscene_cli.results.request import Request
from videoscene_cli.results.scene_folder import SceneFolder
from videoscene_cli.results.video_file import make_video
from videoscene_cli.terminal.work_list import is_video

if TYPE_CHECKING:
    from stages.files.stored_clip import StoredClip
    from stages.scene import Exposure, Gaussians, Views
    from stages.video.full_size import Student
    from stages.video.video_clip import VideoClip, VideoFrames

COPIED = ("inputs", "prior", "render")  # stages that a new scene folder gets from the old one


def from_scene(scene: SceneFolder, out: str | None, student: VideoStudent, session: Session) -> None:
    """Finish the render of a scene: in its own folder, in a new scene folder, or as a video file."""
    options = {"render": require_render(scene)["fingerprint"]} | student.options()
    request = Request("generate", options, {}, student.weights, session.hashes)

    def load(record: Record) -> tuple[StoredClip, Gaussians, Views]:
        with record.stage("start"):
            gaussians, views = scene.load_prior()
            clip = scene.load_clip("render")
        student.check_frames(len(clip.cameras))
        return clip, gaussians, views

    def make(record: Record) -> tuple[VideoFrames, Gaussians]:
        clip, gaussians, views = load(record)
        with record.stage("generate"):
            from stages.video.video_clip import VideoClip

            kept = VideoClip.of(clip.to(session.home), student.short_side)
            del clip  # its coverage and depth are large
        return finish_video(kept, gaussians, views, student, session, record)

    workload = partial(scene.workload, "render", repairs=student.is_small)
    if is_video(out):
        return make_video(str(out), request, make, workload, session)
    target = SceneFolder(Path(out or scene.path), session.hashes)

    def make_stage(record: Record) -> None:
        clip, cloud = finish(*load(record), student, session, record)
        scene.copy_stages(target, COPIED)
        target.save_clip("generate", clip, request, record, cloud)

    check = partial(scene.check_copies, target, COPIED)
    produce(session, request, Result.stage(target.path, "generate"), make_stage, check=check, workload=workload)


def require_render(scene: SceneFolder) -> dict[str, Any]:
    """The manifest of a scene's render. Raises InputError unless it is undamaged and of the present prior."""
    return scene.require_chain("render", f"videoscene render {scene.path}")["render"]


def finish(
    clip: StoredClip, gaussians: Gaussians, views: Views, student: VideoStudent, session: Session, record: Record
) -> tuple[StoredClip, Gaussians]:
    """Repair a render, and make the cloud of Gaussians that viewers open."""
    from stages.pipeline import repair_clip

    cloud, views = _cloud(gaussians, views, clip.exposure, session, record)
    step = _loaded(student, session, record)
    with record.stage("generate"), session.report.progress("generate"):
        repaired = repair_clip(clip.to(session.home), views, step)
    record.facts["student"] = student.facts(repaired.leap)
    return repaired, cloud


def finish_video(
    clip: VideoClip, gaussians: Gaussians, views: Views, student: VideoStudent, session: Session, record: Record
) -> tuple[VideoFrames, Gaussians]:
    """`finish` for a render that becomes a video file."""
    from stages.pipeline import repair_video

    cloud, views = _cloud(gaussians, views, clip.clip.exposure, session, record)
    step = _loaded(student, session, record)
    with record.stage("generate"), session.report.progress("generate"):
        video = repair_video(clip, views, step)
    record.facts["student"] = student.facts(video.leap)
    return video, cloud


def _cloud(
    gaussians: Gaussians, views: Views, exposure: Exposure | None, session: Session, record: Record
) -> tuple[Gaussians, Views]:
    """The cloud of Gaussians that viewers open, and the photographs on the session's device.

    exposure: the one that the render states, or None.
    """
    from stages.exposure import estimate_exposure
    from stages.render import one_cloud

    with record.stage("cloud"), session.report.progress("cloud"):
        views = views.to(session.home)
        exposure = estimate_exposure(views) if exposure is None else exposure
        cloud = one_cloud(gaussians.to(session.home), views, exposure)
    record.facts["cloud"] = len(cloud)
    return cloud, views


def _loaded(student: VideoStudent, session: Session, record: Record) -> Student | None:
    """The student, loaded, or None. A message says so if there is none."""
    if not student.installed:
        session.report.note("no video student is used: the clip is the prior's render")
    with record.stage("student"), session.report.progress("loading the student"):
        return student.step
