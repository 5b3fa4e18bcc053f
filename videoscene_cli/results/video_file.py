"""A video as a file or a stream: out.mp4, with its manifest out.mp4.json and its Gaussians out.ply beside it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from stages.files.publish import check_writable
from videoscene_cli.models.session import Session
from videoscene_cli.results.dry_run import show_plan
from videoscene_cli.results.manifest import Record, Request, is_current
from videoscene_cli.results.scene_folder import ply_comments

if TYPE_CHECKING:
    from stages.scene import Clip, Gaussians


def files(video: Path) -> list[Path]:
    """The video, its Gaussians and its manifest; on stdout the video alone."""
    return [video] if str(video) == "-" else [video, video.with_suffix(".ply"), video.with_name(video.name + ".json")]


def make_video(out: str, request: Request, make: Callable[[Record], tuple[Clip, Gaussians]], session: Session) -> None:
    """Make a video file unless it is there, or stream it to stdout for `-`."""
    if out == "-":
        return _stream(request, make, session)
    video, ply, manifest = files(Path(out))
    is_current(request, manifest, ply, session.shared.force, touch=False)  # Gaussians of someone else are not replaced either
    current = is_current(request, manifest, video, session.shared.force, touch=not session.shared.dry_run)
    if session.shared.dry_run:
        return show_plan(session, request, current, files(video))
    record = Record()
    if not current:
        check_writable(video)
        _save(video, *make(record), request, record)
    session.report.done(str(video), current, command="generate", manifest=str(manifest), seconds=record.seconds)


def _stream(request: Request, make: Callable[[Record], tuple[Clip, Gaussians]], session: Session) -> None:
    if session.shared.dry_run:
        return show_plan(session, request, False, [Path("-")])
    stream = session.report.stream()
    clip, _ = make(Record())
    from stages.files.video import write_mp4

    # Encoded into a file first: a player that stops reading then ends the command where it is, and no encoder waits.
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "video.mp4"
        write_mp4(video, clip.frames, clip.fps, fragmented=True)
        with video.open("rb") as file:
            shutil.copyfileobj(file, stream)
        stream.flush()


def _save(video: Path, clip: Clip, gaussians: Gaussians, request: Request, record: Record) -> None:
    """Publish the three files, the manifest last: publish renames when its block ends, innermost first, and all are complete by then."""
    from stages.files.ply import write_ply
    from stages.files.publish import publish
    from stages.files.video import write_mp4

    final_video, final_ply, final_manifest = files(video)
    with publish(final_manifest) as manifest, publish(final_ply) as ply, publish(final_video) as mp4:
        with record.stage("write"):
            write_mp4(mp4, clip.frames, clip.fps)
            write_ply(ply, gaussians, ply_comments(request))
        record.write_manifest(manifest, request, {final_video.name: mp4, final_ply.name: ply})
