"""A video as a file, out.mp4 with its manifest out.mp4.json and its Gaussians out.ply, or as a stream to stdout."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from videoscene_cli.models.session import Session
from videoscene_cli.results.dry_run import TO_BE_MADE, show_plan
from videoscene_cli.results.manifest import Record
from videoscene_cli.results.produce import Result, produce
from videoscene_cli.results.request import Request
from videoscene_cli.results.scene_folder import ply_comments

if TYPE_CHECKING:
    from stages.prior.memory import Workload
    from stages.scene import Gaussians
    from stages.video.video_clip import VideoFrames


def make_video(
    out: str,
    request: Request,
    make: Callable[[Record], tuple[VideoFrames, Gaussians]],
    workload: Callable[[], Workload],
    session: Session,
) -> None:
    """Make a video file unless it is up to date, or stream the video to stdout if `out` is "-"."""
    if out == "-":
        if session.shared.dry_run:
            return show_plan(session, request, TO_BE_MADE, [Path("-")], workload)
        return _stream(make, session)
    video = Path(out)
    ply, manifest = video.with_suffix(".ply"), video.with_name(video.name + ".json")
    result = Result(video, manifest, (video, ply, manifest), guarded=(ply, video))
    produce(session, request, result, lambda record: _save(result, *make(record), request, record), workload=workload)


def _stream(make: Callable[[Record], tuple[VideoFrames, Gaussians]], session: Session) -> None:
    stream = session.report.stream()
    session.start()
    frames, _ = make(Record())
    from stages.files.video import write_mp4

    # The video is encoded into a file first, so no encoder waits for a slow player or fails with one that stops.
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "video.mp4"
        write_mp4(video, frames, frames.fps, fragmented=True)
        with video.open("rb") as file:
            shutil.copyfileobj(file, stream)
        stream.flush()


def _save(result: Result, frames: VideoFrames, gaussians: Gaussians, request: Request, record: Record) -> None:
    """Publish the three files. All are complete before the first is renamed, and the manifest is renamed last."""
    from stages.files.ply import write_ply
    from stages.files.publish import publish
    from stages.files.video import write_mp4

    final_video, final_ply, final_manifest = result.outputs
    with publish(final_manifest) as manifest, publish(final_ply) as ply, publish(final_video) as mp4:
        with record.stage("write"):
            write_mp4(mp4, frames, frames.fps)
            write_ply(ply, gaussians, ply_comments(request))
        record.write_manifest(manifest, request, {final_video.name: mp4, final_ply.name: ply})
