"""Cameras as nerfstudio's transforms.json: OpenGL camera-to-world (x right, y up, z backward), intrinsics in pixels.

Keys: https://docs.nerf.studio/quickstart/data_conventions.html. Cameras with lens distortion are refused, because every
stage works with pinhole cameras. As in other readers, the paths of images may have backslashes, as on Windows, or no
ending, as in NeRF's synthetic scenes. If the file gives no size, it is that of the first image.
"""

import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.errors import InputError
from stages.files.documents import read_json
from stages.files.image_decoding import ENDINGS, image_size
from stages.files.publish import write_json
from stages.scene import Cameras

# Factors of the columns of a camera-to-world matrix that turn OpenCV axes into OpenGL axes, and back.
OPENGL = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)
PINHOLES = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE")  # values of camera_model that are pinholes if the distortion is 0
DISTORTION = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")  # keys of distortion coefficients
HINT = "give a transforms.json with nerfstudio's keys"


def write_transforms(path: Path, cameras: Cameras, file_paths: list[str], extra: dict[str, Any] | None = None) -> None:
    """Write cameras as transforms.json, atomically. Numbers keep all their digits.

    file_paths: one image path per camera, relative to the file's folder.  extra: more top-level keys, such as fps.
    Intrinsics that all cameras share are written once. Raises InputError on skewed intrinsics, which the format lacks.
    """
    if len(file_paths) != len(cameras):
        raise ValueError(f"{len(file_paths)} paths for {len(cameras)} cameras")
    K = cameras.K.detach().double().cpu()
    poses = (cameras.c2w.detach().double().cpu() * OPENGL + 0.0).tolist()  # + 0.0 turns -0.0 into 0.0
    # Only fx, fy, cx and cy can be written, so the other entries of K must be those of a pinhole.
    others = K.clone()
    others[:, (0, 1, 0, 1), (0, 1, 2, 2)] = 0
    if not torch.equal(others, torch.diag(K.new_tensor([0, 0, 1])).expand_as(K)):
        why, hint = "a camera has skewed intrinsics", "give K = [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]"
        raise InputError(f"cannot write {path}", why, hint)
    shared = len(torch.unique(K, dim=0)) == 1
    document: dict[str, Any] = {"camera_model": "OPENCV", "w": cameras.size[1], "h": cameras.size[0]}
    if shared:
        document |= _intrinsics(K[0])
    document |= {"k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0} | (extra or {})
    document["frames"] = [
        {"file_path": name} | ({} if shared else _intrinsics(k)) | {"transform_matrix": pose}
        for name, k, pose in zip(file_paths, K, poses, strict=True)
    ]
    write_json(path, document)


def find_transforms(folder: Path) -> list[Path]:
    """The transforms.json in a folder or, if it has none, those directly in its folders, sorted by name."""
    own = folder / "transforms.json"
    return [own] if own.is_file() else sorted(folder.glob("*/transforms.json"))


def as_in_transforms(cameras: Cameras) -> Cameras:
    """The cameras, float32 on the CPU, that reading a folder gives back after `write_transforms`."""
    flipped = cameras.c2w.detach().double().cpu() * OPENGL + 0.0
    return Cameras((flipped * OPENGL).float(), cameras.K.detach().float().cpu(), cameras.size)


def _intrinsics(K: Tensor) -> dict[str, float]:
    return {"fl_x": K[0, 0].item(), "fl_y": K[1, 1].item(), "cx": K[0, 2].item(), "cy": K[1, 2].item()}


def read_transforms(path: Path) -> tuple[Cameras, list[str]]:
    """Read cameras (float64) and their image paths, relative to the file's folder, from transforms.json.

    A key of a frame overrides the same key at the top level. Intrinsics are w, h (by default those of the first image),
    fl_x or camera_angle_x, fl_y or camera_angle_y (by default fl_x), cx and cy (by default the centre). Paths come
    back with slashes and, if such a file exists, with an ending.
    Raises InputError when the file is malformed or has no frames, distortion, another camera model, several image
    sizes, or poses that are not rigid and finite.
    """
    document = read_json(path)
    try:
        return _parse(document, path.parent)
    except InputError as error:
        raise InputError(f"cannot read {path}", error.why, error.hint) from error


def _parse(document: Any, folder: Path) -> tuple[Cameras, list[str]]:
    frames = document.get("frames") if isinstance(document, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise _malformed("it has no list of frames")
    names, poses, intrinsics, sizes = [], [], [], set()
    measured: dict[str, int] = {}
    for index, frame in enumerate(frames):
        name = frame.get("file_path")
        if not isinstance(name, str) or not name:
            raise _malformed(f"frame {index} has no file_path")
        names.append(_existing(name, folder))
        keys = {key: value for key, value in document.items() if key != "frames"} | frame
        if keys.get("w") is None and keys.get("h") is None:
            measured = measured or _size_of(folder / names[0], "frame 0")
            keys |= measured
        K, size = _camera(keys, f"frame {index}")
        intrinsics.append(K)
        poses.append(_pose(frame.get("transform_matrix"), f"frame {index}"))
        sizes.add(size)
    if len(sizes) > 1:
        why = f"its frames have {len(sizes)} different sizes"
        raise InputError("bad cameras", why, "resize all images to one size")
    c2w = torch.tensor(poses, dtype=torch.float64) * OPENGL
    return Cameras(c2w, torch.tensor(intrinsics, dtype=torch.float64), sizes.pop()), names


def _existing(name: str, folder: Path) -> str:
    """The path of an image with slashes, and with the ending of the file that exists if the path has no ending."""
    plain = name.replace("\\", "/")
    if Path(plain).suffix or "\0" in plain:
        return plain
    endings = (ending for ending in ENDINGS if os.path.isfile(folder / f"{plain}{ending}"))
    return plain + next(endings, "")


def _size_of(image: Path, where: str) -> dict[str, int]:
    """The keys w and h, which the file leaves out, from an image."""
    try:
        height, width = image_size(image)
    except InputError as error:
        why = f"{where} has no w and h, and its image cannot be read: {error.why}"
        raise InputError("bad cameras", why, "add w and h to the file") from error
    return {"w": width, "h": height}


def _camera(keys: dict[str, Any], where: str) -> tuple[list[list[float]], tuple[int, int]]:
    """K and (h, w) from the merged keys of a frame and the top level."""
    model = keys.get("camera_model", "OPENCV")
    if model not in PINHOLES:
        hint = f"undistort the images, to one of {', '.join(PINHOLES)}"
        raise InputError("bad cameras", f"{where} has camera_model {model!r}", hint)
    if keys.get("is_fisheye") not in (None, False, 0):
        raise InputError("bad cameras", f"{where} is of a fisheye lens (is_fisheye)", "undistort the images first")
    nonzero = [key for key in DISTORTION if _number(keys.get(key, 0), key, where) != 0]
    if nonzero:
        why = f"{where} has lens distortion ({', '.join(nonzero)})"
        raise InputError("bad cameras", why, "undistort the images first")
    w, h = (_number(keys.get(key), key, where) for key in ("w", "h"))
    if w != int(w) or h != int(h) or not (0 < w < 2**20 and 0 < h < 2**20):
        raise _malformed(f"{where} is {w:g} x {h:g} pixels")
    fl_x = _focal(keys, "fl_x", "camera_angle_x", w, where)
    no_fl_y = keys.get("fl_y") is None and keys.get("camera_angle_y") is None
    fl_y = fl_x if no_fl_y else _focal(keys, "fl_y", "camera_angle_y", h, where)
    cx, cy = _number(keys.get("cx", w / 2), "cx", where), _number(keys.get("cy", h / 2), "cy", where)
    return [[fl_x, 0.0, cx], [0.0, fl_y, cy], [0.0, 0.0, 1.0]], (int(h), int(w))


def _focal(keys: dict[str, Any], length: str, angle: str, side: float, where: str) -> float:
    """Focal length in px, from the key `length`, or from the field of view (radians) `angle` across `side` px."""
    if keys.get(length) is not None or keys.get(angle) is None:
        return _number(keys.get(length), length, where)
    field = _number(keys[angle], angle, where)
    if not 0 < field < math.pi:
        raise _malformed(f"{where} has {angle} {field:g}, outside 0 to pi")
    return side / 2 / math.tan(field / 2)


def _pose(matrix: Any, where: str) -> list[list[float]]:
    """Check a camera-to-world matrix (OpenGL axes) and return it as 4 x 4. The file may leave out the last row."""
    is_matrix = isinstance(matrix, list) and len(matrix) in (3, 4)
    if not is_matrix or not all(isinstance(row, list) and len(row) == 4 for row in matrix):
        raise _malformed(f"the transform_matrix of {where} is not 4 x 4")
    rows = [[_number(value, "transform_matrix", where) for value in row] for row in matrix]
    if rows[3:] not in ([], [[0.0, 0.0, 0.0, 1.0]]):
        raise _malformed(f"the transform_matrix of {where} does not end in 0 0 0 1")
    return [*rows[:3], [0.0, 0.0, 0.0, 1.0]]


def _number(value: Any, key: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        if value is None:
            raise _malformed(f"{where} has no {key}")
        raise _malformed(f"{key} of {where} is {str(value)[:40]!r}, not a number")
    if not abs(value) < 1e30:  # also refuses infinity, NaN and integers with thousands of digits
        raise _malformed(f"{key} of {where} is not a finite number")
    return float(value)


def _malformed(why: str) -> InputError:
    return InputError("bad cameras", why, HINT)
