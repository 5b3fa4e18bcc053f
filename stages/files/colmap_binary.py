"""Reader of COLMAP's binary model files that checks every length.

Format: https://colmap.github.io/format.html#binary-file-format. Untrusted files are not given to pycolmap: version 4.2
aborts the process or never returns on a damaged points3D.bin, and accepts a cut-off cameras.bin.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from stages.errors import InputError
from stages.files.os_errors import require_file

HINT = "give the folder of a binary COLMAP model, sparse/0"
UNDISTORT = "undistort the model first"

# COLMAP's camera models that become a pinhole when their distortion is 0, by model id (src/colmap/sensor/models.h): the
# indices of fx, fy, cx, cy among the model's parameters, and the number of parameters. The others are distortion.
MODELS = {
    0: ((0, 0, 1, 2), 3),  # SIMPLE_PINHOLE
    1: ((0, 1, 2, 3), 4),  # PINHOLE
    2: ((0, 0, 1, 2), 4),  # SIMPLE_RADIAL
    3: ((0, 0, 1, 2), 5),  # RADIAL
    4: ((0, 1, 2, 3), 8),  # OPENCV
    6: ((0, 1, 2, 3), 12),  # FULL_OPENCV
}


@dataclass(frozen=True)
class Camera:
    """Intrinsics (fx, fy, cx, cy) in px and size (h, w) in px."""

    intrinsics: tuple[float, float, float, float]
    size: tuple[int, int]


@dataclass(frozen=True)
class Image:
    """One image's world-to-camera pose (quaternion wxyz, translation), camera id and file name."""

    quaternion: tuple[float, ...]
    translation: tuple[float, ...]
    camera_id: int
    name: str


class _Reader:
    """Reads little-endian values from a file, front to back. Raises InputError when the file ends too early."""

    def __init__(self, path: Path) -> None:
        require_file(path, HINT)
        self.path, self.data, self.offset = path, path.read_bytes(), 0

    def skip(self, count: int) -> int:
        """Skip `count` bytes. Returns the offset at which they begin."""
        if count > len(self.data) - self.offset:
            raise self.damaged("it is cut off, or states a wrong number of entries")
        self.offset += count
        return self.offset - count

    def take(self, layout: str) -> tuple[float, ...]:
        layout = "<" + layout
        return struct.unpack_from(layout, self.data, self.skip(struct.calcsize(layout)))

    def count(self) -> int:
        return int(self.take("Q")[0])

    def name(self) -> str:
        end = self.data.find(b"\0", self.offset)
        if end < 0:
            raise self.damaged("an image name does not end")
        start, self.offset = self.offset, end + 1
        try:
            return self.data[start:end].decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.damaged("an image name is not UTF-8") from error

    def damaged(self, why: str) -> InputError:
        return InputError(f"cannot read {self.path}", why, HINT)


def read_cameras(path: Path) -> dict[int, Camera]:
    """Read cameras.bin: camera id -> Camera. Raises InputError when it is damaged or a camera is not a pinhole."""
    reader, cameras = _Reader(path), {}
    for _ in range(reader.count()):
        identity, model, w, h = (int(value) for value in reader.take("IiQQ"))
        if model not in MODELS:
            raise InputError(f"cannot read {path}", f"camera {identity} is no pinhole (model {model})", UNDISTORT)
        indices, count = MODELS[model]
        values = reader.take(f"{count}d")
        if any(value != 0 for index, value in enumerate(values) if index not in indices):
            raise InputError(f"cannot read {path}", f"camera {identity} has lens distortion", UNDISTORT)
        fx, fy, cx, cy = (values[index] for index in indices)
        cameras[identity] = Camera((fx, fy, cx, cy), (h, w))
    return cameras


def read_images(path: Path) -> dict[int, Image]:
    """Read images.bin: image id -> Image. The 2D points are skipped."""
    reader, images = _Reader(path), {}
    for _ in range(reader.count()):
        identity, *pose, camera_id = reader.take("I7dI")
        name = reader.name()
        reader.skip(24 * reader.count())  # x, y and point id of each 2D point
        images[int(identity)] = Image(tuple(pose[:4]), tuple(pose[4:]), int(camera_id), name)
    return images
