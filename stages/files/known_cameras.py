"""Cameras that a user knows: nerfstudio's transforms.json, or the folder of a COLMAP scene."""

from pathlib import Path

from stages.files.colmap import model_files, model_folder, read_colmap
from stages.files.transforms import read_transforms
from stages.scene import Cameras

TRANSFORMS = "transforms.json"


def camera_files(path: Path) -> dict[str, Path]:
    """The files that hold the cameras, by what they hold. path: as for `read_known_cameras`.

    Raises InputError for a folder with neither a COLMAP model nor a transforms.json.
    """
    return model_files(path) if _is_model(path) else {"cameras": _transforms(path)}


def read_known_cameras(path: Path) -> tuple[Cameras, list[str]]:
    """Cameras (float64) and the names of their images. path: a transforms.json, its folder, or that of a COLMAP model.

    Raises InputError as `read_colmap` and `read_transforms` do.
    """
    return read_colmap(path) if _is_model(path) else read_transforms(_transforms(path))


def _is_model(path: Path) -> bool:
    """Whether the path is a folder that is read as a COLMAP model. It may hold a transforms.json beside it."""
    return path.is_dir() and (model_folder(path) is not None or not (path / TRANSFORMS).is_file())


def _transforms(path: Path) -> Path:
    return path / TRANSFORMS if path.is_dir() else path
