"""The inputs of `reconstruct`: a scene, photographs, a folder with transforms.json or a COLMAP model, or a video."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.errors import InputError
from stages.files.file_hashes import FileHashes
from videoscene_cli.models.session import Session
from videoscene_cli.results.manifest import read_manifest
from videoscene_cli.results.request import Request
from videoscene_cli.results.scene_folder import STAGES, SceneFolder, describe_folder

if TYPE_CHECKING:
    from torch import Tensor

    from stages.files.stored_clip import StoredClip
    from stages.prior.memory import Workload
    from stages.scene import Cameras, Gaussians, Views

IMAGES = "images"  # the folder of the images of a COLMAP scene
SOURCES = "give a finished scene, photographs, a folder with transforms.json or sparse/0, or a video with --cameras"


@dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs of an optimisation: Gaussians to start from, photographs, and the clip between two of them or None."""

    gaussians: Gaussians
    views: Views
    clip: StoredClip | None = None


@dataclass(frozen=True)
class Source:
    """Where the inputs come from.

    request: of the result.  load: reads the inputs, and may run the prior for it.  workload: what it works on.
    copied: stages that a new scene folder needs too.
    """

    request: Request
    load: Callable[[Session], Inputs]
    workload: Callable[[], Workload]
    copied: tuple[str, ...] = ()


def default_steps(path: Path, hashes: FileHashes) -> int:
    """The number of steps without --steps.

    A scene of this program takes fewer, and fewest if no student repaired its clip: then the clip says nothing new.
    """
    from stages.reconstruct import STEPS, STEPS_OF_A_CLIP, STEPS_OF_A_PAIR

    if not is_finished(path):
        return STEPS
    return STEPS_OF_A_PAIR if not _is_repaired(path, hashes) else STEPS_OF_A_CLIP


def default_gaussians(path: Path) -> int:
    """The largest number of Gaussians without --gaussians. All of the one cloud of a scene are kept."""
    from stages.reconstruct import GAUSSIANS, GAUSSIANS_OF_A_CLOUD

    return GAUSSIANS_OF_A_CLOUD if is_finished(path) else GAUSSIANS


def is_finished(path: Path) -> bool:
    """Whether a folder is a scene of this program with a finished clip. It may hold other files too."""
    return (path / "generate" / "manifest.json").is_file()


def _is_repaired(path: Path, hashes: FileHashes) -> bool:
    """Whether a student repaired the clip of a finished scene."""
    return read_manifest(path / "generate" / "manifest.json", hashes).get("student") is not None


def find_source(path: Path, cameras: Path | None, size: int, options: dict[str, Any], session: Session) -> Source:
    """The source that `path` names. options: those that change the result.  Raises InputError when it is no source."""
    if path.is_file():
        return _video_source(path, cameras, size, options, session)
    if cameras is not None:
        why = "--cameras is for a video"
        raise InputError("bad usage", why, "leave it out: a folder has a transforms.json of its own")
    if not is_finished(path) and not (path / "prior").is_dir():
        return _photographs_source(path, size, options, session)
    # A scene of this program.
    scene = SceneFolder(path, session.hashes)
    chain = scene.require_chain("generate", f"videoscene generate {path}")
    clip, prior = chain["generate"], chain["prior"]
    request = Request(
        "reconstruct",
        {**options, "generate": clip["fingerprint"], "prior": prior["fingerprint"]},
        {},
        hashes=session.hashes,
    )
    return Source(
        request,
        lambda _: Inputs(scene.load_cloud(), scene.load_prior()[1], scene.load_clip("generate")),
        lambda: scene.workload("generate", refines=True),
        tuple(stage for stage in STAGES if (path / stage).is_dir()),
    )


def _video_source(video: Path, cameras: Path | None, size: int, options: dict[str, Any], session: Session) -> Source:
    from stages.files.file_kinds import describe_file
    from stages.files.image_decoding import ENDINGS

    if video.suffix.lower() in ENDINGS:
        raise InputError("one photograph is not enough", f"{video} is one photograph", SOURCES)
    kind = describe_file(video)
    if video.suffix.lower() == ".json":
        why, hint = f"{video} is no video", f"give the folder of a transforms.json: {video.parent}"
        raise InputError("nothing to reconstruct", why, hint)
    if kind is not None and "video" not in kind[0]:
        raise InputError("nothing to reconstruct", f"{video} is {kind[0]}, not a video", SOURCES)
    if cameras is None:
        why, hint = "a video does not say where it was taken from", "add --cameras transforms.json"
        raise InputError(f"no cameras for {video}", why, hint)
    from stages.files.known_cameras import camera_files, read_known_cameras
    from stages.files.video import read_mp4

    files = {"video": video, **camera_files(cameras)}
    posed = read_known_cameras(cameras)[0]
    sizes = [posed.size] * len(posed)
    return _posed(files, lambda: (read_mp4(video), posed), sizes, size, options, session)


def _photographs_source(folder: Path, size: int, options: dict[str, Any], session: Session) -> Source:
    """Photographs with cameras (transforms.json, COLMAP), or without."""
    from stages.files.colmap import model_files, model_folder, read_colmap
    from stages.files.image_decoding import photographs_in
    from stages.files.known_cameras import TRANSFORMS
    from stages.files.transforms import read_transforms

    if (folder / TRANSFORMS).is_file():
        files = {"cameras": folder / TRANSFORMS}
        posed, names = read_transforms(folder / TRANSFORMS)
        photographs = [folder / name for name in names]
    elif model_folder(folder) is not None:
        files = model_files(folder)
        posed, names = read_colmap(folder)
        photographs = [folder / IMAGES / name for name in names]
    else:
        files, posed, photographs = {}, None, photographs_in(folder)
        if not photographs:
            raise InputError(f"nothing to reconstruct in {folder}", describe_folder(folder), SOURCES)
    missing = next((photograph for photograph in photographs if not photograph.exists()), None)
    if missing is not None:
        why = f"{files['cameras']} names it, and there is no such file"
        raise InputError(f"cannot read {missing}", why, "write its path relative to the folder, as images/0001.jpg")
    sizes = _sizes(photographs)
    files |= {f"photograph {index}": file for index, file in enumerate(photographs)}
    read = (lambda: _find_cameras(photographs)) if posed is None else (lambda: (_read_photographs(photographs), posed))
    return _posed(files, read, sizes, size, options, session)


def _posed(
    files: dict[str, Path],
    read: Callable[[], tuple[Tensor, Cameras]],
    sizes: list[tuple[int, int]],
    size: int,
    options: dict[str, Any],
    session: Session,
) -> Source:
    request = Request(
        "reconstruct", {**options, "size": size}, files, {"prior": session.weights.record()}, session.hashes
    )

    def load(session: Session) -> Inputs:
        from stages.reconstruct.initial_gaussians import predict_pairs, resize

        views = resize(*read(), size).to(session.home)
        return Inputs(predict_pairs(views, session.network), views)

    def workload() -> Workload:
        from stages.files.images import fitted_sizes
        from stages.prior.memory import Workload

        _, (h, w) = fitted_sizes(sizes[0], size)
        return Workload(sum(math.prod(each) for each in sizes), h * w, len(sizes), refines=True)

    return Source(request, load, workload)


def _find_cameras(photographs: list[Path]) -> tuple[Tensor, Cameras]:
    from stages.reconstruct.find_cameras import find_poses

    images = _read_photographs(photographs)
    cameras, with_camera = find_poses(images)
    return images[with_camera], cameras


def _read_photographs(paths: list[Path]) -> Tensor:
    import torch

    from stages.files.images import read_image

    return torch.stack([read_image(path) for path in paths])


def _sizes(photographs: list[Path]) -> list[tuple[int, int]]:
    """The size (h, w) of every photograph, px. Raises InputError when one cannot be read, or they differ."""
    from stages.files.image_decoding import image_size

    sizes = [image_size(path) for path in photographs]
    for path, (height, width) in zip(photographs, sizes, strict=True):
        if (height, width) != sizes[0]:
            why = f"{width} x {height} pixels, {photographs[0].name} has {sizes[0][1]} x {sizes[0][0]}"
            raise InputError(f"cannot use {path}", why, "resize all photographs to one size")
    return sizes
