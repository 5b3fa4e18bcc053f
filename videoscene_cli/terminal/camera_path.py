"""The camera path that --path asks for, and how its frames are made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.errors import InputError
from videoscene_cli.terminal.options import FPS

if TYPE_CHECKING:
    from stages.scene import Cameras, Gaussians
    from stages.walk import Walk

NAMES = ("interp", "straight", "orbit", "spiral", "dolly")


@dataclass(frozen=True)
class PathSettings:
    """The options --path, --frames, --fps and --keep-exposure."""

    path: str = "interp"
    frames: int = 49
    fps: float = FPS
    keep_exposure: bool = False

    @property
    def file(self) -> Path | None:
        """The file of the path, or None. Raises InputError when --path is no name and no file."""
        if self.path in NAMES:
            return None
        if not Path(self.path).is_file():
            hint = f"known paths: {', '.join(NAMES)}; or a transforms.json, or a camera path of nerfstudio"
            raise InputError(f"no camera path {self.path!r}", "it is neither a known path nor a file", hint)
        return Path(self.path)

    def options(self) -> dict[str, Any]:
        """The options that decide the pixels. A file counts by its content, as an input."""
        path = {"path": self.path, "frames": self.frames} if self.file is None else {"path": "file"}
        return {"fps": self.fps, "keep_exposure": self.keep_exposure, **path}

    def count(self) -> int:
        """The number of cameras on the path. Raises InputError when its file cannot be read."""
        if self.file is None:
            return self.frames
        from stages.files.camera_paths import read_camera_path

        return len(read_camera_path(self.file))

    def inputs(self) -> dict[str, Path]:
        """The path's file, if there is one, by its role in a request."""
        return {} if self.file is None else {"path": self.file}

    def walk(self, inputs: Cameras, gaussians: Gaussians) -> Walk:
        """The cameras of the path, with the size of the two input cameras, and how freely they move.

        `interp` is bent around what is in its way. Raises InputError when there is no such path.
        """
        from stages.files.camera_paths import read_camera_path
        from stages.trajectory import along
        from stages.walk import walk

        name = "interp" if self.path == "straight" else self.path
        path = name if self.file is None else read_camera_path(self.file)
        cameras = along(path, inputs, gaussians.means, self.frames)
        return walk(cameras, gaussians, inputs, bend=self.path == "interp")
