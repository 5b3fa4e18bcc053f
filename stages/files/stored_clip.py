"""A clip as its files hold it: 8 bits for colours and coverage, 16 for depth. It takes a quarter of the memory.

Commands pass clips in this form, so that a clip in memory equals the clip that is read from a folder, and so that
results in the size of photographs fit into memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stages.errors import InputError
from stages.files.depth_maps import as_levels, depth_unit, from_levels
from stages.files.images import as_bytes
from stages.files.transforms import as_in_transforms
from stages.scene import Cameras, Clip, Exposure


@dataclass(frozen=True, eq=False)
class StoredClip:
    """T frames along a camera path.

    frames: [T, 3, h, w], uint8, sRGB.  cameras: T.  coverage: [T, h, w], uint8, or None; see `Clip`.
    fps: frames per second.  depth: [T, h, w], uint16, camera z in units of `unit`, 0 where unknown; or None.
    unit: scene units.  leap, exposure: see `Clip`.
    """

    frames: Tensor
    cameras: Cameras
    coverage: Tensor | None = None
    fps: float = 8.0
    depth: Tensor | None = None
    unit: float = 1.0
    leap: int | None = None
    exposure: Exposure | None = None

    def __post_init__(self) -> None:
        n, (h, w) = len(self.cameras), self.cameras.size
        for name, value, shape in (
            ("frames", self.frames, (n, 3, h, w)),
            ("coverage", self.coverage, (n, h, w)),
            ("depth", self.depth, (n, h, w)),
        ):
            if value is not None and value.shape != shape:
                raise InputError("bad clip", f"{name} has shape {tuple(value.shape)}", f"give {shape}")

    @classmethod
    def of(cls, clip: Clip, unit: float | None = None) -> StoredClip:
        """A clip, rounded. A clip that was stored before does not change. Raises RunError on NaN.

        unit: the unit of depth, at least the largest depth / 65535. None stands for that.
        """
        if unit is None:
            unit = 1.0 if clip.depth is None else depth_unit(clip.depth)
        coverage = None if clip.coverage is None else as_bytes(clip.coverage)
        depth, cameras = None if clip.depth is None else as_levels(clip.depth, unit), as_in_transforms(clip.cameras)
        return cls(as_bytes(clip.frames), cameras, coverage, clip.fps, depth, unit, clip.leap, clip.exposure)

    @classmethod
    def joined(cls, parts: Iterable[StoredClip], cameras: Cameras) -> StoredClip:
        """The parts of a clip, one after the other. Each may be made when it is asked for. cameras: of all frames."""
        joined, done = None, 0
        for part in parts:
            if joined is None:
                joined = part._with_room(cameras)
            rows, done = slice(done, done + len(part.cameras)), done + len(part.cameras)
            for name in ("frames", "coverage", "depth"):
                if getattr(joined, name) is not None:
                    getattr(joined, name)[rows] = getattr(part, name)
        assert joined is not None, "a clip has frames"
        return joined

    def _with_room(self, cameras: Cameras) -> StoredClip:
        """Room for a clip of which this is the first part."""
        n, (h, w) = len(cameras), cameras.size
        coverage, depth = (None if maps is None else maps.new_empty((n, h, w)) for maps in (self.coverage, self.depth))
        frames = self.frames.new_empty((n, 3, h, w))
        return replace(self, frames=frames, cameras=as_in_transforms(cameras), coverage=coverage, depth=depth)

    def clip(self, which: list[int] | None = None) -> Clip:
        """The frames as float32, or only those at some indices."""
        index: slice | list[int] = slice(None) if which is None else which
        coverage = None if self.coverage is None else self.coverage[index].float().div_(255)
        depth = None if self.depth is None else from_levels(self.depth[index], self.unit)
        frames = self.frames[index].float().div_(255)
        return Clip(frames, self.cameras[index], coverage, self.fps, depth, self.leap, self.exposure)

    def without_maps(self) -> StoredClip:
        """The same frames without coverage and depth."""
        return replace(self, coverage=None, depth=None)

    def to(self, device: torch.device) -> StoredClip:
        """Move frames, coverage and depth. The cameras stay on the CPU, as in `Views.to`."""
        coverage, depth = (None if maps is None else maps.to(device) for maps in (self.coverage, self.depth))
        return replace(self, frames=self.frames.to(device), coverage=coverage, depth=depth)
