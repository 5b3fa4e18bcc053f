"""The outputs of `reconstruct`: the Gaussians, the cameras in two formats with their images, and three videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.errors import InputError
from videoscene_cli.reconstruction.inputs import Inputs
from videoscene_cli.results.manifest import Record
from videoscene_cli.results.request import Request
from videoscene_cli.results.scene_folder import files_below, ply_comments

if TYPE_CHECKING:
    from stages.reconstruct import Reconstruction


POINTS = "sparse_pc.ply"  # nerfstudio's name of the points that a scene is started from


def check_formats(names: list[str]) -> None:
    """Raise InputError when one of `names` is not an export format."""
    if not names:
        return
    from stages.reconstruct.viewer_formats import FORMATS

    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise InputError("bad usage", f"{unknown[0]!r} is no export format", f"--export {'|'.join(FORMATS)}")


def save_reconstruction(
    folder: Path, result: Reconstruction, inputs: Inputs, exports: Sequence[str], request: Request, record: Record
) -> None:
    """Publish a reconstruction, its manifest last.

    It holds gaussians.ply, images/, transforms.json with sparse_pc.ply (points), sparse/0 (COLMAP), video.mp4,
    orbit.mp4 and depth.mp4.
    exports: names of further formats for the Gaussians, see `check_formats`.
    """
    from stages.files.colmap import write_colmap
    from stages.files.images import write_png
    from stages.files.ply import write_ply, write_points
    from stages.files.publish import publish
    from stages.files.transforms import write_transforms
    from stages.files.video import write_mp4
    from stages.reconstruct.presentation import present
    from stages.reconstruct.viewer_formats import export
    from stages.scene import Clip

    # Render the videos and compute the points of COLMAP's model.
    views, clip = inputs.views, inputs.clip
    path, fps = (views.cameras, Clip.fps) if clip is None else (clip.cameras, clip.fps)
    with record.stage("show"):
        shown = present(result, path)
    # Write the files.
    gaussians, cameras = result.gaussians, result.cameras.to("cpu")
    names = [f"{index:04d}.png" for index in range(len(cameras))]
    with record.stage("write"), publish(folder) as partial:
        write_ply(partial / "gaussians.ply", gaussians, ply_comments(request))
        for name, image in zip(names, result.targets.images.cpu(), strict=True):
            write_png(partial / "images" / name, image)
        images = [f"images/{name}" for name in names]
        write_transforms(partial / "transforms.json", cameras, images, {"ply_file_path": POINTS})
        # nerfstudio and OpenSplat start from a point cloud, so the Gaussians are not named here.
        write_points(partial / POINTS, shown.points, shown.colours, ply_comments(request))
        write_colmap(partial, cameras, names, shown.points, shown.colours, shown.observations)
        for name, frames in (("video", shown.video), ("orbit", shown.orbit), ("depth", shown.depth)):
            write_mp4(partial / f"{name}.mp4", frames, fps)
        for form in exports:
            export(partial, gaussians, shown.path, form)
        record.write_manifest(partial / "manifest.json", request, files_below(partial))
