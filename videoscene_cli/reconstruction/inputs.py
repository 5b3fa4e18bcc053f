"""The inputs of `reconstruct`: a scene, photographs, a folder with transforms.json, or a video with --cameras."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.errors import InputError
from stages.files.file_hashes import FileHashes
from videoscene_cli.models.session import Session
from videoscene_cli.results.manifest import read_manifest
from videoscene_cli.results.request import Request
from videoscene_cli.results.scene_folder import STAGES, SceneFolder

if TYPE_CHECKING:
    from torch import Tensor

    from stages.scene import Cameras, Clip, Gaussians, Views

TRANSFORMS = "transforms.json"
PHOTOGRAPHS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")  # endings of image files


@dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs of an optimisation: Gaussians to start from, photographs, and the clip between two of them or None."""

    gaussians: Gaussians
    views: Views
    clip: Clip | None = None


@dataclass(frozen=True)
class Source:
    """Where the inputs come from.

    request: of the result.  load: reads the inputs, and may run the prior for it.
    copied: stages that a new scene folder needs too.
    """

    request: Request
    load: Callable[[Session], Inputs]
    copied: tuple[str, ...] = ()


def default_steps(path: Path, hashes: FileHashes) -> int:
    """The number of steps without --steps.

    A scene of this program takes fewer, and fewest if no student repaired its clip: then the clip says nothing new.
    """
    from stages.reconstruct import STEPS, STEPS_OF_A_CLIP, STEPS_OF_A_PAIR

    if not is_finished(path):
        return STEPS
    return STEPS_OF_A_PAIR if not _is_repaired(path, hashes) else STEPS_OF_A_CLIP


def is_finished(path: Path) -> bool:
    """Whether a folder is a scene of this program with a finished clip. It may hold other files too."""
    return (path / "generate" / "manifest.json").is_file()


def _is_repaired(path: Path, hashes: FileHashes) -> bool:
    """Whether a student repaired the clip of a finished scene."""
    return read_manifest(path / "generate" / "manifest.json", hashes).get("student") is not None


def find_source(path: Path, cameras: Path | None, size: int, options: dict[str, Any], session: Session) -> Source:
    """The source that `path` names. options: those that change the result.  Raises InputError when it is no source."""
    # A video.
    if path.is_file():
        if cameras is None:
            why = "a video does not say where it was taken from"
            raise InputError(f"no cameras for {path}", why, "add --cameras transforms.json")
        files = {"video": path, "cameras": cameras}
        return _posed(files, lambda: _read_video(path, cameras), size, options, session)
    if cameras is not None:
        why = "--cameras is for a video"
        raise InputError("bad usage", why, "leave it out: a folder has a transforms.json of its own")
    # Photographs, with or without cameras.
    if not is_finished(path):
        if (path / TRANSFORMS).is_file():
            from stages.files.transforms import read_transforms

            names = read_transforms(path / TRANSFORMS)[1]
            files = {
                "cameras": path / TRANSFORMS,
                **{f"photograph {index}": path / name for index, name in enumerate(names)},
            }
            return _posed(files, lambda: _read_folder(path), size, options, session)
        photographs = sorted(file for file in path.glob("*") if file.suffix.lower() in PHOTOGRAPHS)
        if photographs:
            files = {f"photograph {index}": file for index, file in enumerate(photographs)}
            return _posed(files, lambda: _find_cameras(photographs), size, options, session)
    # A scene of this program.
    hint = f"videoscene generate {path}, or give a folder with a {TRANSFORMS}"
    scene = SceneFolder(path, session.hashes)
    chain = scene.require_chain("generate", hint)
    clip, prior = chain["generate"], chain["prior"]
    request = Request(
        "reconstruct",
        {**options, "generate": clip["fingerprint"], "prior": prior["fingerprint"]},
        {},
        hashes=session.hashes,
    )
    return Source(
        request,
        lambda _: Inputs(*scene.load_prior(), scene.load_clip("generate")),
        tuple(stage for stage in STAGES if (path / stage).is_dir()),
    )


def _posed(
    files: dict[str, Path],
    read: Callable[[], tuple[Tensor, Cameras]],
    size: int,
    options: dict[str, Any],
    session: Session,
) -> Source:
    request = Request(
        "reconstruct", {**options, "size": size}, files, {"prior": session.weights.record()}, session.hashes
    )

    def load(session: Session) -> Inputs:
        from stages.reconstruct.initial_gaussians import predict_pairs, resize

        views = resize(*read(), size)
        return Inputs(predict_pairs(views, session.network), views)

    return Source(request, load)


def _read_video(video: Path, cameras: Path) -> tuple[Tensor, Cameras]:
    from stages.files.transforms import read_transforms
    from stages.files.video import read_mp4

    return read_mp4(video), read_transforms(cameras)[0]


def _read_folder(folder: Path) -> tuple[Tensor, Cameras]:
    from stages.files.transforms import read_transforms

    cameras, names = read_transforms(folder / TRANSFORMS)
    return _read_photographs([folder / name for name in names]), cameras


def _find_cameras(photographs: list[Path]) -> tuple[Tensor, Cameras]:
    from stages.reconstruct.find_cameras import find_poses

    images = _read_photographs(photographs)
    cameras, with_camera = find_poses(images)
    return images[with_camera], cameras


def _read_photographs(paths: list[Path]) -> Tensor:
    import torch

    from stages.files.images import read_image

    images = [read_image(path) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            sizes = [f"{i.shape[-1]} x {i.shape[-2]}" for i in (image, images[0])]
            why = f"{sizes[0]} pixels, {paths[0].name} has {sizes[1]}"
            raise InputError(f"cannot use {path}", why, "resize all photographs to one size")
    return torch.stack(images)
