"""What `reconstruct` leaves: the Gaussians, the cameras in two formats with their images, and three videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.errors import InputError
from videoscene_cli.reconstruction.inputs import Material
from videoscene_cli.results.manifest import Record, Request
from videoscene_cli.results.scene_folder import ply_comments

if TYPE_CHECKING:
    from stages.reconstruct import Reconstruction

ORBIT_FRAMES = 49


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
    import torch

    from stages.files.colmap import write_colmap
    from stages.files.images import write_png
    from stages.files.ply import write_ply
    from stages.files.publish import publish
    from stages.files.transforms import write_transforms
    from stages.files.video import write_mp4
    from stages.reconstruct.orbit_and_depth import depth_pictures, orbit_of, points_of
    from stages.reconstruct.tracks import find_tracks
    from stages.reconstruct.viewer_formats import export
    from stages.render import render
    from stages.scene import Views

    gaussians, cameras = result.gaussians, result.cameras.to("cpu")
    names = [f"{index:04d}.png" for index in range(len(cameras))]
    given = material.targets.photographs
    photographs = Views(material.targets.images[:given], cameras[:given])
    with record.stage("write"), publish(folder) as partial:
        write_ply(partial / "gaussians.ply", gaussians, ply_comments(request))
        for name, image in zip(names, material.targets.images, strict=True):
            write_png(partial / "images" / name, image)
        write_transforms(partial / "transforms.json", cameras, [f"images/{name}" for name in names], {"ply_file_path": "gaussians.ply"})
        tracks, dense = find_tracks(photographs), points_of(gaussians)
        points = torch.cat([tracks.points, dense[0].double().cpu()])
        write_colmap(partial, cameras, names, points, torch.cat([tracks.colors, dense[1].cpu()]), tracks.observations)
        path, orbit = material.path.to(gaussians.means), orbit_of(gaussians, cameras, ORBIT_FRAMES).to(gaussians.means)
        write_mp4(partial / "video.mp4", render(gaussians, path).frames.cpu(), material.fps)
        write_mp4(partial / "orbit.mp4", render(gaussians, orbit).frames.cpu(), material.fps)
        write_mp4(partial / "depth.mp4", depth_pictures(gaussians, path).cpu(), material.fps)
        for form in exports:
            export(partial, gaussians, path, form)
        files = {str(path.relative_to(partial)): path for path in sorted(partial.rglob("*")) if path.is_file()}
        record.write_manifest(partial / "manifest.json", request, files)
