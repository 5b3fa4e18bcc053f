"""A student at work on a clip that is larger or longer than those that it can repair.

It repairs a smaller copy of some frames. What it changes there is enlarged, spread over the frames between, and added
to the clip. So low frequencies come from the student, and detail from the photographs that the render was made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.files.images import as_bytes
from stages.files.stored_clip import StoredClip
from stages.geometry import crop_intrinsics
from stages.scene import Cameras, Clip, Views
from stages.sizes import MOST_FRAMES, network_size, resized_cameras, resized_images

AnyClip = TypeVar("AnyClip", Clip, StoredClip)


@dataclass(frozen=True)
class Student:
    """A video student.

    repair: (render along a path, the two photographs with their depth) -> the repaired clip, with its leap step. It may
    show only the centre of each frame.  short_side: that of the frames that it repairs, px.
    """

    repair: Callable[[Clip, Views], Clip]
    short_side: int


@dataclass(frozen=True, eq=False)
class Repair:
    """What a student made of the small copy of a clip.

    frames, change: [K, 3, h, w], the repaired key frames, and their difference from those of the render.
    cameras: those of the K frames, which may show only the centre of the clip's frames.  leap: the leap step.
    """

    frames: Tensor
    change: Tensor
    cameras: Cameras
    leap: int | None

    @classmethod
    def of(cls, small: Clip, views: Views, student: Student) -> Repair:
        """Let the student repair the small copy of a clip, from `small_clip`."""
        repaired = student.repair(small, views)
        before = part_shown(small.frames, small.cameras, repaired.cameras)
        return cls(repaired.frames, repaired.frames - before, repaired.cameras, repaired.leap)


def repair_stored(clip: StoredClip, views: Views, student: Student) -> StoredClip:
    """The clip with the changes that the student makes in a small copy. Coverage and depth stay those of the render."""
    size = network_size(clip.cameras.size, student.short_side)
    repair = Repair.of(small_clip(clip, size, key_frames(len(clip.cameras))), views, student)
    clip = middle(clip, repair.cameras)
    frames = torch.empty_like(clip.frames)
    for t, frame in enumerate(repaired_frames(clip.frames, repair)):
        frames[t] = frame
    return replace(clip, frames=frames, leap=repair.leap)


def repaired_frames(frames: Tensor, repair: Repair) -> Iterator[Tensor]:
    """The frames of a clip with what a student changed in its key frames, each [3, h, w], uint8.

    frames: [T, 3, h, w], uint8, the part that the repaired key frames show, see `middle`.
    """
    count, size, keys = len(frames), (frames.shape[-2], frames.shape[-1]), len(repair.change)
    if repair.cameras.size == size and keys == count:
        yield from map(as_bytes, repair.frames)
        return
    for t, frame in enumerate(frames):
        at = t * (keys - 1) / max(1, count - 1)
        first = min(int(at), keys - 1)
        here = torch.lerp(repair.change[first], repair.change[min(first + 1, keys - 1)], at - first)
        larger = F.interpolate(here[None], size, mode="bicubic", align_corners=False)[0]
        yield as_bytes(frame.float().div_(255) + larger)


def key_frames(count: int) -> list[int]:
    """The frames that a student repairs, of a clip with `count` frames: all, or MOST_FRAMES, spread evenly."""
    keys = min(count, MOST_FRAMES)
    return [round(k * (count - 1) / max(1, keys - 1)) for k in range(keys)]


def small_clip(clip: StoredClip, size: tuple[int, int], which: list[int] | None = None) -> Clip:
    """The frames of a clip, or those at some indices, in another size (h, w)."""
    parts = []
    for index in range(len(clip.cameras)) if which is None else which:
        part = clip.clip([index])
        if size != clip.cameras.size:
            coverage = None if part.coverage is None else resized_images(part.coverage[None], size)[0]
            # Depths of two surfaces must not be mixed.
            depth = None if part.depth is None else F.interpolate(part.depth[None], size, mode="nearest-exact")[0]
            frames, cameras = resized_images(part.frames, size), resized_cameras(part.cameras, size)
            part = replace(part, frames=frames, cameras=cameras, coverage=coverage, depth=depth)
        parts.append(part)
    return Clip.joined(parts)


def middle(clip: StoredClip, like: Cameras) -> StoredClip:
    """The centre of each frame, as much of it as the cameras `like` show. Their images may have another scale."""
    (h, w), focal = clip.cameras.size, float(clip.cameras.K[0, 0, 0])
    scale = focal / float(like.K[0, 0, 0])
    height, width = (min(old, 2 * round(new * scale / 2)) for old, new in zip((h, w), like.size, strict=True))
    if (height, width) == (h, w):
        return clip
    return cut_out(clip, (h - height) // 2, (w - width) // 2, (height, width))


def cut_out(clip: AnyClip, top: int, left: int, size: tuple[int, int]) -> AnyClip:
    """Crop frames, coverage and depth to the rectangle of size (h, w) whose corner is at row `top`, column `left`."""
    rows, columns = slice(top, top + size[0]), slice(left, left + size[1])
    cameras = Cameras(clip.cameras.c2w, crop_intrinsics(clip.cameras.K, left, top), size)
    coverage, depth = (None if maps is None else maps[:, rows, columns] for maps in (clip.coverage, clip.depth))
    return replace(clip, frames=clip.frames[:, :, rows, columns], cameras=cameras, coverage=coverage, depth=depth)


def part_shown(images: Tensor, cameras: Cameras, like: Cameras) -> Tensor:
    """The part of images [N, 3, h, w] that the cameras `like` show, whose images were cut out of these. Not a copy."""
    left, top = (cameras.K[0, :2, 2] - like.K[0, :2, 2]).round().long().tolist()
    return images[:, :, top : top + like.size[0], left : left + like.size[1]]
