"""Cameras that a user knows: nerfstudio's transforms.json, or the folder of a COLMAP scene."""

from pathlib import Path

from stages.files.colmap import model_files, read_colmap
from stages.files.transforms import read_transforms
from stages.scene import Cameras


def camera_files(path: Path) -> dict[str, Path]:
    """The files that hold the cameras, by what they hold. Raises InputError for a folder without a COLMAP model."""
    return model_files(path) if path.is_dir() else {"cameras": path}


def read_known_cameras(path: Path) -> tuple[Cameras, list[str]]:
    """Cameras (float64) and the names of their images. Raises InputError as `read_colmap` and `read_transforms` do."""
    return read_colmap(path) if path.is_dir() else read_transforms(path)
