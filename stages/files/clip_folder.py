"""Clips and views as folders of PNG images with their cameras in transforms.json.

Stages read clips from these images. video.mp4 in the folder is a lossy copy to watch.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.errors import InputError
from stages.files.depth_maps import as_in_png as depth_as_in_png
from stages.files.depth_maps import depth_unit, read_depth, read_levels, write_depth, write_levels
from stages.files.documents import read_json
from stages.files.images import as_bytes, as_in_png, read_gray, read_image, write_gray_png, write_png
from stages.files.os_errors import writing
from stages.files.stored_clip import StoredClip
from stages.files.transforms import as_in_transforms, read_transforms, write_transforms
from stages.files.video import write_mp4
from stages.scene import Cameras, Clip, Exposure, Views
from stages.sizes import with_small_images

# nerfstudio's key for the depth, in scene units, that one level of a depth PNG stands for.
DEPTH_UNIT = "depth_unit_scale_factor"


def write_clip(folder: Path, clip: StoredClip) -> None:
    """Write a clip: frames/0000.png and so on, video.mp4, transforms.json; coverage into alpha/ and depth into depth/.

    Colours and coverage have 8 bits, depth has 16. transforms.json also holds fps, the unit of depth and the
    leap step of a repaired clip. The folder is created and must not hold frames yet. The write is not atomic, so give a
    folder that `publish` yields.
    Raises InputError and RunError as write_png, write_mp4 and write_transforms do.
    """
    names = _fresh(folder, "frames", len(clip.cameras))
    for name, frame in zip(names, clip.frames, strict=True):
        write_png(folder / "frames" / name, frame)
    if clip.coverage is not None:
        for name, coverage in zip(names, clip.coverage, strict=True):
            write_gray_png(folder / "alpha" / name, coverage)
    extra: dict[str, Any] = {"fps": clip.fps}
    if clip.depth is not None:
        for name, levels in zip(names, clip.depth, strict=True):
            write_levels(folder / "depth" / name, levels)
        extra[DEPTH_UNIT] = clip.unit
    if clip.leap is not None:
        extra["leap"] = clip.leap
    if clip.exposure is not None:
        extra["exposure"] = {"gain": clip.exposure.gain.tolist(), "offset": clip.exposure.offset.tolist()}
    write_mp4(folder / "video.mp4", clip.frames, clip.fps)
    write_transforms(folder / "transforms.json", clip.cameras, [f"frames/{name}" for name in names], extra)


def read_clip(folder: Path) -> StoredClip:
    """Read what write_clip wrote. Coverage or depth that was not written is None. video.mp4 is not read.

    Raises InputError when a file is missing or damaged, or when the sizes or numbers of images and cameras differ.
    """
    cameras, paths = _cameras(folder)
    _require_count(folder / "frames", len(cameras))
    frames = torch.stack([as_bytes(_sized(read_image(path, min_side=1), cameras, path)) for path in paths])
    coverage, depth = None, None
    if (folder / "alpha").is_dir():
        _require_count(folder / "alpha", len(cameras))
        maps = [folder / "alpha" / path.name for path in paths]
        coverage = torch.stack([as_bytes(_sized(read_gray(path), cameras, path)) for path in maps])
    unit = _positive(folder / "transforms.json", DEPTH_UNIT)
    if unit is not None:
        depth = torch.stack([_sized(read_levels(path), cameras, path) for path in _depth_maps(folder, paths)])
    fps, leap = _positive(folder / "transforms.json", "fps") or Clip.fps, _leap(folder / "transforms.json")
    return StoredClip(frames, cameras, coverage, fps, depth, unit or 1.0, leap, _exposure(folder / "transforms.json"))


def write_views(folder: Path, views: Views) -> None:
    """Write posed photographs: images/0000.png and so on, transforms.json, and depth into depth/.

    Images and cameras have the size of the result, depth has that of the networks. Colours have 8 bits, depth has 16.
    The folder is created and must not hold images yet. The write is not atomic, so give a folder that `publish` yields.
    Raises InputError and RunError as write_png and write_transforms do.
    """
    names, full = _fresh(folder, "images", len(views.cameras)), views.full or views
    for name, image in zip(names, full.images, strict=True):
        write_png(folder / "images" / name, image)
    extra = write_depth_maps(folder, names, views.depth)
    write_transforms(folder / "transforms.json", full.cameras, [f"images/{name}" for name in names], extra)


def read_views(folder: Path) -> Views:
    """Read posed images from any nerfstudio folder, and depth if write_views wrote it, as float32.

    Images that are larger than the networks' size become `full`, and `images` are made from them.
    Raises InputError when a file is missing or damaged, or when the sizes of an image and its camera differ.
    """
    cameras, paths = _cameras(folder)
    images = torch.stack([_sized(read_image(path, min_side=1), cameras, path) for path in paths])
    unit = _positive(folder / "transforms.json", DEPTH_UNIT)
    if unit is None:
        return with_small_images(Views(images, cameras))
    depth = [read_depth(path, unit) for path in _depth_maps(folder, paths)]
    if len({each.shape for each in depth}) > 1:
        raise InputError(f"cannot read {folder}", "its depth maps differ in size", "predict the depth again")
    small = with_small_images(Views(images, cameras), (depth[0].shape[0], depth[0].shape[1]))
    return replace(small, depth=torch.stack(depth))


def views_as_in_folder(views: Views) -> Views:
    """The views that `read_views` gives back after `write_views`: 8-bit colours, 16-bit depth."""
    full = views.full or views
    exact = Views(as_in_png(full.images), as_in_transforms(full.cameras))
    depth = None if views.depth is None else depth_as_in_png(views.depth)
    return replace(with_small_images(exact, views.cameras.size), depth=depth)


def write_depth_maps(folder: Path, names: Sequence[str], depth: Tensor | None) -> dict[str, float]:
    """Write depth [N, h, w] as folder/depth/NAME, one file per name. Returns the entries for transforms.json.

    Without depth (None) nothing is written and the entries are empty.
    """
    if depth is None:
        return {}
    unit = depth_unit(depth)
    for name, depth_map in zip(names, depth, strict=True):
        write_depth(folder / "depth" / name, depth_map, unit)
    return {DEPTH_UNIT: unit}


def _depth_maps(folder: Path, paths: list[Path]) -> list[Path]:
    """The files of the depth maps of the images `paths`."""
    return [folder / "depth" / path.with_suffix(".png").name for path in paths]


def _fresh(folder: Path, kind: str, count: int) -> list[str]:
    """Create folder/kind, which must not exist yet, and return names for `count` images."""
    with writing(folder / kind):
        (folder / kind).mkdir(parents=True)
    return [f"{index:04d}.png" for index in range(count)]


def _cameras(folder: Path) -> tuple[Cameras, list[Path]]:
    cameras, names = read_transforms(folder / "transforms.json")
    return cameras.to(torch.float32), [folder / name for name in names]


def _sized(image: Tensor, cameras: Cameras, path: Path) -> Tensor:
    (h, w), (height, width) = cameras.size, image.shape[-2:]
    if (height, width) != (h, w):
        why = f"{width} x {height} pixels for a camera of {w} x {h}"
        raise InputError(f"cannot use {path}", why, "resize it, or correct transforms.json")
    return image


def _require_count(folder: Path, count: int) -> None:
    images = sum(1 for _ in folder.glob("*.png"))
    if images != count:
        raise InputError(f"cannot read {folder}", f"{images} images for {count} cameras", "write the clip again")


def _leap(path: Path) -> int | None:
    """The leap step with which a student repaired the clip, or None if no student did."""
    leap = read_json(path).get("leap")
    if leap is not None and (type(leap) is not int or not 0 <= leap < 1000):
        raise InputError(f"cannot read {path}", f"leap is {str(leap)[:40]}", "give a leap step, 0 to 999")
    return leap


def _exposure(path: Path) -> Exposure | None:
    """The exposure under its key of a JSON file, or None if the key is absent."""
    value = read_json(path).get("exposure")
    if value is None:
        return None
    try:
        gain, offset = (torch.tensor(value[name], dtype=torch.float32) for name in ("gain", "offset"))
        sound = gain.shape == offset.shape == (3,) and bool((gain > 0).all()) and bool(offset.isfinite().all())
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound or not bool(gain.isfinite().all()):
        why, hint = f"exposure is {str(value)[:40]}", "give gain and offset, three numbers each"
        raise InputError(f"cannot read {path}", why, hint)
    return Exposure(gain, offset)


def _positive(path: Path, key: str) -> float | None:
    """The positive number under a top-level key of a JSON file, or None if the key is absent."""
    value = read_json(path).get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e30:
        raise InputError(f"cannot read {path}", f"{key} is {str(value)[:40]}", "give a number above 0")
    return float(value)
