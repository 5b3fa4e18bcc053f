"""COLMAP's binary model files, read with every length checked (https://colmap.github.io/format.html#binary-file-format).

pycolmap 4.2 aborts the process or never returns on a damaged points3D.bin and accepts a cut-off cameras.bin, so files that nobody
vouches for are not given to it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.errors import InputError
from stages.files.os_errors import require_file

HINT = "give the folder of a binary COLMAP model, sparse/0"

# Pinhole models by id: the places of fx, fy, cx, cy among the parameters, and the number of parameters; the others are distortion.
MODELS = {
    0: ((0, 0, 1, 2), 3),
    1: ((0, 1, 2, 3), 4),
    2: ((0, 0, 1, 2), 4),
    3: ((0, 0, 1, 2), 5),
    4: ((0, 1, 2, 3), 8),
    6: ((0, 1, 2, 3), 12),
}


@dataclass(frozen=True)
class Camera:
    """Intrinsics (fx, fy, cx, cy) in px and size (h, w) in px."""

    intrinsics: tuple[float, float, float, float]
    size: tuple[int, int]


@dataclass(frozen=True)
class Image:
    """A pose, world-to-camera (quaternion wxyz, translation), with its camera and file name."""

    quaternion: tuple[float, ...]
    translation: tuple[float, ...]
    camera_id: int
    name: str


class _Reader:
    """Little-endian values off the front of a file; InputError when it ends too early."""

    def __init__(self, path: Path) -> None:
        require_file(path, HINT)
        self.path, self.data, self.at = path, path.read_bytes(), 0

    def skip(self, count: int) -> int:
        """Step over `count` bytes; returns where they began."""
        if count > len(self.data) - self.at:
            raise self.damaged("it is cut off, or states a wrong number of entries")
        self.at += count
        return self.at - count

    def take(self, layout: str) -> tuple[float, ...]:
        layout = "<" + layout
        return struct.unpack_from(layout, self.data, self.skip(struct.calcsize(layout)))

    def count(self) -> int:
        return int(self.take("Q")[0])

    def name(self) -> str:
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise self.damaged("an image name does not end")
        start, self.at = self.at, end + 1
        try:
            return self.data[start:end].decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.damaged("an image name is not UTF-8") from error

    def damaged(self, why: str) -> InputError:
        return InputError(f"cannot read {self.path}", why, HINT)


def read_cameras(path: Path) -> dict[int, Camera]:
    """cameras.bin as camera id -> Camera. InputError when it is damaged, or a camera is distorted or no pinhole."""
    reader, cameras = _Reader(path), {}
    for _ in range(reader.count()):
        identity, model, w, h = (int(value) for value in reader.take("IiQQ"))
        if model not in MODELS:
            raise InputError(f"cannot read {path}", f"camera {identity} is no pinhole (model {model})", "undistort the model first")
        places, count = MODELS[model]
        values = reader.take(f"{count}d")
        if any(value != 0 for index, value in enumerate(values) if index not in places):
            raise InputError(f"cannot read {path}", f"camera {identity} has lens distortion", "undistort the model first")
        fx, fy, cx, cy = (values[place] for place in places)
        cameras[identity] = Camera((fx, fy, cx, cy), (h, w))
    return cameras


def read_images(path: Path) -> dict[int, Image]:
    """images.bin as image id -> Image; its 2D points are stepped over."""
    reader, images = _Reader(path), {}
    for _ in range(reader.count()):
        identity, *pose, camera_id = reader.take("I7dI")
        name = reader.name()
        reader.skip(24 * reader.count())
        images[int(identity)] = Image(tuple(pose[:4]), tuple(pose[4:]), int(camera_id), name)
    return images


def read_points(path: Path) -> np.ndarray:
    """points3D.bin as xyz, [P, 3] float64, in the order of the file; colours, errors and tracks are stepped over."""
    reader = _Reader(path)
    points = []
    for _ in range(reader.count()):
        _, x, y, z, *_rest = reader.take("Q3d3Bd")
        reader.skip(8 * reader.count())
        points.append((x, y, z))
    return np.array(points, dtype=np.float64).reshape(-1, 3)
