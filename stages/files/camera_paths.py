"""Camera paths from files: a transforms.json, or what nerfstudio's viewer saves.

Source: nerfstudio 1.1, cameras/camera_paths.py, `get_path_from_json`: "camera_path" is a list of camera_to_world (16
numbers, row by row, OpenGL axes), fov (vertical, degrees) and aspect; render_width and render_height are in px. The
poses must be in the units and axes of the scene: train with --orientation-method none --center-method none
--auto-scale-poses False, or nerfstudio moves the scene.
"""

import math
from pathlib import Path
from typing import Any

import torch

from stages.errors import InputError
from stages.files.documents import read_json
from stages.files.transforms import OPENGL, read_transforms
from stages.scene import Cameras

HINT = "give a transforms.json, or a camera path of nerfstudio's viewer"


def read_camera_path(path: Path) -> Cameras:
    """The cameras of a path, float64. Raises InputError when the file is malformed or its cameras are no pinholes."""
    document = read_json(path)
    if not isinstance(document, dict) or "camera_path" not in document:
        return read_transforms(path)[0]
    try:
        return _parse(document)
    except InputError as error:
        raise InputError(f"cannot read {path}", error.why, error.hint) from error


def _parse(document: dict[str, Any]) -> Cameras:
    kind, entries = document.get("camera_type", "perspective"), document["camera_path"]
    if kind != "perspective":
        raise InputError("bad camera path", f"its camera_type is {str(kind)[:40]!r}, not perspective", HINT)
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise InputError("bad camera path", "its camera_path is no list of cameras", HINT)
    w, h = (_number(document.get(key), key, 1, 2**20) for key in ("render_width", "render_height"))
    poses, K = [], []
    for index, entry in enumerate(entries):
        matrix = entry.get("camera_to_world")
        if not isinstance(matrix, list) or len(matrix) != 16:
            raise InputError("bad camera path", f"camera {index} has no camera_to_world of 16 numbers", HINT)
        poses.append([_number(value, f"camera_to_world of camera {index}", -1e30, 1e30) for value in matrix])
        fov = _number(entry.get("fov"), f"fov of camera {index}", 0.1, 179)
        focal = h / 2 / math.tan(math.radians(fov) / 2)
        K.append([[focal, 0, w / 2], [0, focal, h / 2], [0, 0, 1]])
    c2w = torch.tensor(poses, dtype=torch.float64).reshape(-1, 4, 4) * OPENGL
    return Cameras(c2w, torch.tensor(K, dtype=torch.float64), (int(h), int(w)))


def _number(value: Any, what: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise InputError("bad camera path", f"{what} is {str(value)[:40]}, not a number from {low:g} to {high:g}", HINT)
    return float(value)
