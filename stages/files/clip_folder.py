"""Clips and Views as folders: PNG images with their cameras in transforms.json. A clip between stages is never a lossy file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from stages.errors import InputError
from stages.files.depth_maps import depth_unit, read_depth, write_depth
from stages.files.documents import read_json
from stages.files.images import read_gray, read_image, write_gray_png, write_png
from stages.files.os_errors import writing
from stages.files.transforms import read_transforms, write_transforms
from stages.files.video import write_mp4
from stages.scene import Cameras, Clip, Views

DEPTH_UNIT = "depth_unit_scale_factor"  # scene units a level of the depth PNGs; nerfstudio's name for it


def write_clip(folder: Path, clip: Clip) -> None:
    """Write frames/0000.png..., alpha/ and depth/ of the same names (where there are coverage and depth), video.mp4 and transforms.json.

    8 bits a channel, 16 of depth; fps and the unit of depth stand in transforms.json. The folder is created; it must not hold frames
    yet. Not atomic: write into what publish yields.
    Raises InputError, RunError as the writers of each file do.
    """
    names = _fresh(folder, "frames", len(clip.cameras))
    for name, frame in zip(names, clip.frames, strict=True):
        write_png(folder / "frames" / name, frame)
    if clip.coverage is not None:
        for name, coverage in zip(names, clip.coverage, strict=True):
            write_gray_png(folder / "alpha" / name, coverage)
    extra = {"fps": clip.fps} | write_depth_maps(folder, names, clip.depth)
    write_mp4(folder / "video.mp4", clip.frames, clip.fps)
    write_transforms(folder / "transforms.json", clip.cameras, [f"frames/{name}" for name in names], extra)


def read_clip(folder: Path) -> Clip:
    """Read what write_clip wrote: all float32, coverage and depth None where there is none. The video is not read.

    Raises InputError when a file is missing or damaged, an image has not the size of the cameras, or the frames or coverage maps
    are not as many as the cameras.
    """
    cameras, paths = _cameras(folder)
    _require_count(folder / "frames", len(cameras))
    frames = [_sized(read_image(path, min_side=1), cameras, path) for path in paths]
    coverage = None
    if (folder / "alpha").is_dir():
        _require_count(folder / "alpha", len(cameras))
        maps = [folder / "alpha" / path.name for path in paths]
        coverage = torch.stack([_sized(read_gray(path), cameras, path) for path in maps])
    fps = _positive(folder / "transforms.json", "fps")
    return Clip(torch.stack(frames), cameras, coverage, Clip.fps if fps is None else fps, _read_depth(folder, cameras, paths))


def write_views(folder: Path, views: Views) -> None:
    """Write images/0000.png... and transforms.json, and depth/0000.png... (16 bit, unit in transforms.json) where there is depth.

    8 bits a channel. The folder is created; it must not hold images yet. Not atomic: write into what publish yields.
    Raises InputError, RunError as the writers of each file do.
    """
    names = _fresh(folder, "images", len(views.cameras))
    for name, image in zip(names, views.images, strict=True):
        write_png(folder / "images" / name, image)
    extra = write_depth_maps(folder, names, views.depth)
    write_transforms(folder / "transforms.json", views.cameras, [f"images/{name}" for name in names], extra)


def read_views(folder: Path) -> Views:
    """Read posed images (any nerfstudio folder) and, where write_views put it, their depth: all float32.

    Raises InputError when a file is missing or damaged, or an image has not the size of the cameras.
    """
    cameras, paths = _cameras(folder)
    images = torch.stack([_sized(read_image(path, min_side=1), cameras, path) for path in paths])
    return Views(images, cameras, _read_depth(folder, cameras, paths))


def write_depth_maps(folder: Path, names: Sequence[str], depth: Tensor | None) -> dict[str, float]:
    """Write folder/depth/NAME of each map of depth [N, h, w], where there is depth. Returns what transforms.json is to say of it."""
    if depth is None:
        return {}
    unit = depth_unit(depth)
    for name, one in zip(names, depth, strict=True):
        write_depth(folder / "depth" / name, one, unit)
    return {DEPTH_UNIT: unit}


def _read_depth(folder: Path, cameras: Cameras, paths: list[Path]) -> Tensor | None:
    """The depth of the images `paths`, [N, h, w], or None where there is none."""
    unit = _positive(folder / "transforms.json", DEPTH_UNIT)
    if unit is None:
        return None
    maps = [folder / "depth" / path.with_suffix(".png").name for path in paths]
    return torch.stack([_sized(read_depth(path, unit), cameras, path) for path in maps])


def _fresh(folder: Path, kind: str, count: int) -> list[str]:
    """Create folder/kind, which must be new so that no image of an earlier run stays in it, and name `count` images."""
    with writing(folder / kind):
        (folder / kind).mkdir(parents=True)
    return [f"{index:04d}.png" for index in range(count)]


def _cameras(folder: Path) -> tuple[Cameras, list[Path]]:
    cameras, names = read_transforms(folder / "transforms.json")
    return cameras.to(torch.float32), [folder / name for name in names]


def _sized(image: Tensor, cameras: Cameras, path: Path) -> Tensor:
    (h, w), (height, width) = cameras.size, image.shape[-2:]
    if (height, width) != (h, w):
        raise InputError(
            f"cannot use {path}", f"{width} x {height} pixels for a camera of {w} x {h}", "resize it, or correct transforms.json"
        )
    return image


def _require_count(folder: Path, count: int) -> None:
    found = sum(1 for _ in folder.glob("*.png"))
    if found != count:
        raise InputError(f"cannot read {folder}", f"{found} images for {count} cameras", "write the clip again")


def _positive(path: Path, key: str) -> float | None:
    """A positive number among the top-level keys of a JSON file, None where the key is absent."""
    value = read_json(path).get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e30:
        raise InputError(f"cannot read {path}", f"{key} is {str(value)[:40]}", "give a number above 0")
    return float(value)
