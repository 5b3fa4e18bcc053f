"""The stages of `stages.pipeline` as commands run them: timed, with progress on stderr and facts for manifests."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from videoscene_cli.models.session import Session
from videoscene_cli.results.manifest import Record
from videoscene_cli.results.request import Request
from videoscene_cli.terminal.camera_path import PathSettings
from videoscene_cli.terminal.obstacles import Seen, clearance_facts, obstacle_message
from videoscene_cli.terminal.options import PHOTO, short_side
from videoscene_cli.terminal.work_list import Photos

if TYPE_CHECKING:
    from stages.files.stored_clip import StoredClip
    from stages.pipeline import CoarseScene
    from stages.prior.memory import Workload
    from stages.scene import Cameras, Gaussians, Views

Kept = TypeVar("Kept")


@dataclass(frozen=True)
class PriorSettings:
    """The options --size and --cameras."""

    size: str
    cameras: Path | None

    def request(
        self, command: str, photos: Photos, session: Session, options: dict[str, Any], inputs: dict[str, Path]
    ) -> Request:
        """The request of `command` for two photographs.

        Raises InputError for a missing file, WeightsError for bad weights.
        """
        files = {"first": photos[0], "second": photos[1], **self._camera_files(), **inputs}
        options = {"size": short_side(self.size) or PHOTO, "seed": session.shared.seed, **options}
        return Request(command, options, files, {"prior": session.weights.record()}, session.hashes)

    def workload(self, photos: Photos, frames: int = 0, repairs: bool = False, video: bool = False) -> Workload:
        """The work of a command on two photographs, for `--dry-run`. Reads them, and their cameras.

        frames, repairs, video: see `Workload`.
        """
        from stages.files.images import read_image
        from stages.files.known_cameras import read_known_cameras
        from stages.prior.memory import Workload
        from stages.sizes import network_size, result_size

        if self.cameras is not None:
            read_known_cameras(self.cameras)
        first, second = ((image.shape[-2], image.shape[-1]) for image in map(read_image, photos))
        result = result_size(first, short_side(self.size))
        view = network_size(result)
        return Workload(
            math.prod(first) + math.prod(second), math.prod(view), frames, math.prod(result),
            repairs=repairs, video=video,
            sizes={"first": first, "second": second, "result": result, "networks": view},
        )  # fmt: skip

    def _camera_files(self) -> dict[str, Path]:
        if self.cameras is None:
            return {}
        from stages.files.known_cameras import camera_files

        return camera_files(self.cameras)


def predict_pair(photos: Photos, settings: PriorSettings, session: Session, record: Record) -> CoarseScene:
    """Find the cameras of two photographs and predict their Gaussians."""
    with record.stage("start"), session.report.progress("starting"):
        from stages.pipeline import find_views, predict_gaussians
    with record.stage("cameras"), session.report.progress("cameras"):
        prepared = find_views(photos, short_side(settings.size), settings.cameras, session.home)
    record.facts["geometry"] = prepared.facts
    with record.stage("prior"), session.report.progress("prior"):
        scene = predict_gaussians(prepared.views, prepared.near_far, session.network)
    record.facts["swept"] = scene.near_far.tolist()
    return scene


def render_along(
    path: PathSettings,
    views: Views,
    gaussians: Gaussians,
    session: Session,
    record: Record,
    keep: Callable[[Iterator[StoredClip], Cameras], Kept],
) -> Kept:
    """Render the Gaussians along a path, in the size of the result, and say what is in its way.

    keep: makes the result from the parts of the clip and the cameras of all frames, such as `StoredClip.joined`.
    """
    from stages.exposure import estimate_exposure
    from stages.pipeline import render_path_in_parts
    from stages.scene import Exposure
    from stages.sizes import resized_cameras

    with record.stage("render"), session.report.progress("render") as advance:
        gaussians, views = gaussians.to(session.home), views.to(session.home)
        exposure = Exposure.same() if path.keep_exposure else estimate_exposure(views)
        walk = path.walk(views.cameras, gaussians)
        cameras, seen = resized_cameras(walk.cameras, views.size).to(gaussians.means.dtype), Seen(walk)
        parts = render_path_in_parts(gaussians, views, cameras, path.fps, advance, exposure)
        clip = keep(seen.watch(parts), cameras)
    if walk.blocked:
        tell = session.report.note if walk.bend else session.report.warn
        tell(obstacle_message(seen, path.path))
    record.facts["clearance"] = clearance_facts(seen)
    record.facts["exposure"] = {
        name: [round(x, 4) for x in getattr(exposure, name).tolist()] for name in ("gain", "offset")
    }
    record.facts |= {"frames": len(cameras), "coverage": round(seen.mean_coverage, 4)}
    return clip
