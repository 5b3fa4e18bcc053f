"""What `reconstruct` leaves: the Gaussians, the cameras in two formats with their images, and three videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.errors import InputError
from videoscene_cli.reconstruction.inputs import Material
from videoscene_cli.results.manifest import Record
from videoscene_cli.results.request import Request
from videoscene_cli.results.scene_folder import files_below, ply_comments

if TYPE_CHECKING:
    from stages.reconstruct import Reconstruction


def check_formats(names: list[str]) -> None:
    """Raise InputError when one of `names` is no export format."""
    if not names:
        return
    from stages.reconstruct.viewer_formats import FORMATS

    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise InputError("bad usage", f"{unknown[0]!r} is no export format", f"--export {'|'.join(FORMATS)}")


def save_reconstruction(
    folder: Path, result: Reconstruction, material: Material, exports: Sequence[str], request: Request, record: Record
) -> None:
    """Publish a reconstruction: gaussians.ply, images/, transforms.json, sparse/0 (COLMAP), video, orbit and depth.mp4, manifest last.

    exports: names of more formats for the Gaussians, as check_formats knows them.
    """
    from stages.files.colmap import write_colmap
    from stages.files.images import write_png
    from stages.files.ply import write_ply
    from stages.files.publish import publish
    from stages.files.transforms import write_transforms
    from stages.files.video import write_mp4
    from stages.reconstruct.presentation import present
    from stages.reconstruct.viewer_formats import export

    with record.stage("show"):
        shown = present(result, material.targets, material.path)
    gaussians, cameras = result.gaussians, result.cameras.to("cpu")
    names = [f"{index:04d}.png" for index in range(len(cameras))]
    with record.stage("write"), publish(folder) as partial:
        write_ply(partial / "gaussians.ply", gaussians, ply_comments(request))
        for name, image in zip(names, material.targets.images, strict=True):
            write_png(partial / "images" / name, image)
        write_transforms(partial / "transforms.json", cameras, [f"images/{name}" for name in names], {"ply_file_path": "gaussians.ply"})
        write_colmap(partial, cameras, names, shown.points, shown.colours, shown.observations)
        for name, frames in (("video", shown.video), ("orbit", shown.orbit), ("depth", shown.depth)):
            write_mp4(partial / f"{name}.mp4", frames, material.fps)
        for form in exports:
            export(partial, gaussians, shown.path, form)
        record.write_manifest(partial / "manifest.json", request, files_below(partial))
