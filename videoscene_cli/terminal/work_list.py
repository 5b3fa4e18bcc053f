"""The work of a command: two photographs, a scene folder, or a list of either on stdin."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.errors import DeviceError, InputError, RunError, WeightsError
from videoscene_cli.terminal.list_on_stdin import LIST_HINT, read_list
from videoscene_cli.terminal.report import Report

Photos = tuple[Path, Path]

# The numbers of paths in a piece of work, and these paths in words.
TAKES = {
    "pairs": ((2,), "two photographs"),
    "scenes": ((1,), "one scene folder"),
    "both": ((1, 2), "two photographs or one scene folder"),
}
# Endings of files that no command makes with -o. A folder that is called like one would surprise.
FOREIGN_ENDINGS = (
    ".3gp", ".avi", ".flv", ".h264", ".hevc", ".m2ts", ".m4v", ".mkv", ".mov", ".mpeg", ".mpg", ".mts", ".ogv",
    ".ts", ".webm", ".wmv", ".aac", ".mp3", ".wav",
    ".apng", ".avif", ".bmp", ".dng", ".exr", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jp2", ".jpe", ".jpeg",
    ".jpg", ".jxl", ".pdf", ".png", ".ppm", ".svg", ".tif", ".tiff", ".webp",
    ".fbx", ".glb", ".gltf", ".ksplat", ".obj", ".ply", ".sog", ".splat", ".spz", ".stl", ".usd", ".usda", ".usdc",
    ".usdz",
    ".csv", ".html", ".ini", ".json", ".jsonl", ".log", ".md", ".toml", ".txt", ".xml", ".yaml", ".yml",
    ".7z", ".ckpt", ".gz", ".npy", ".npz", ".pt", ".pth", ".rar", ".safetensors", ".tar", ".tgz", ".zip",
)  # fmt: skip


@dataclass(frozen=True)
class Work:
    """One piece of work. paths: a pair of photographs, or one scene folder.

    out: the path of the result, if the user gave one.
    """

    paths: tuple[Path, ...]
    out: str | None

    @property
    def pair(self) -> Photos:
        return self.paths[0], self.paths[1]

    @property
    def scene(self) -> Path:
        return self.paths[0]

    @property
    def is_pair(self) -> bool:
        return len(self.paths) == 2

    @property
    def name(self) -> str:
        """A name for the folder: that of the scene, `room` for room_0.png and room_1.png, or both names joined."""
        if not self.is_pair:
            return scene_name(self.scene)
        stems = [path.stem for path in self.paths]
        shared = {re.sub(r"[_-][0-9]$", "", stem) for stem in stems}
        return shared.pop() if len(shared) == 1 and shared != {""} else "-".join(stems)


def scene_name(path: Path) -> str:
    """The name of a scene's folder, even if it is given as `.`, or of a video without its ending."""
    return path.stem if path.is_file() else Path(os.path.abspath(path)).name


def is_video(out: str | None) -> bool:
    """Whether -o names one video, a file or stdout, and not a folder."""
    return out is not None and (out == "-" or out.lower().endswith(".mp4"))


def require_folder(out: str | None) -> None:
    """Raise InputError when -o names a video, another file or stdout, but the command's result is a folder."""
    require_no_foreign_ending(out)
    if is_video(out):
        raise InputError("bad usage", f"-o {out} asks for a video, and the result is a folder", "give -o FOLDER")


def require_no_foreign_ending(out: str | None) -> None:
    """Raise InputError when -o has the ending of a file that no command makes, or something after .mp4."""
    bare = (out or "").rstrip("/ ")
    if bare != out and bare.lower().endswith(".mp4"):
        raise InputError("bad usage", f"-o {out!r} does not end in .mp4, but looks like it", f"give -o {bare}")
    ending = "" if out is None else os.path.splitext(out)[1]
    if ending.lower() in FOREIGN_ENDINGS:
        why = f"-o {out} ends in {ending}, but a video ends in .mp4, and a folder needs no ending"
        raise InputError("bad usage", why, "give -o x.mp4, or -o FOLDER; ffmpeg makes other formats of an mp4")


def read_works(arguments: Sequence[str], out: str | None, takes: str) -> list[Work]:
    """The work that the arguments name, or the lines of stdin for `-`. With a list, `out` is the folder of the results.

    takes: "pairs", "scenes" or "both".  Raises InputError for malformed work and for an empty list.
    """
    # Read the list or the arguments.
    if list(arguments) == ["-"]:
        lines = list(read_list(sys.stdin.buffer.read()))
        for paths, _ in lines:
            _refuse_addresses(paths)
        works = [Work(tuple(map(Path, paths)), target) for paths, target in lines]
        if not works:
            raise InputError("nothing to do", "the list on stdin is empty", f"give {LIST_HINT}")
        if "-" in (out, *(work.out for work in works)):
            raise InputError("bad usage", "-o - holds one video, and a list makes several", "give -o FOLDER")
        require_folder(out)
        if out is not None:
            works = [Work(work.paths, work.out or str(Path(out) / work.name)) for work in works]
    else:
        _refuse_addresses(arguments)
        works = [Work(tuple(map(Path, arguments)), out)]
    # Check that every piece of work has what the command takes, and a path for its result.
    for work in works:
        require_no_foreign_ending(work.out)
        if takes != "both":
            require_folder(work.out)
        if takes == "both" and len(work.paths) == 1 and work.scene.is_file():
            why = f"{work.scene} is one file, not a scene folder"
            raise InputError(
                "one photograph is not enough", why, "give two: videoscene generate left.jpg right.jpg -o out.mp4"
            )
        counts, wanted = TAKES[takes]
        if len(work.paths) not in counts:
            why = f"{' '.join(map(str, work.paths))} where {wanted} should be"
            raise InputError("bad usage", why, f"give {wanted}, or -")
        if work.is_pair and os.path.realpath(work.pair[0]) == os.path.realpath(work.pair[1]):
            why = f"{work.pair[0]} and {work.pair[1]} are one file"
            raise InputError("one photograph is not enough", why, "give two, taken from different places")
        if work.is_pair and work.out is None:
            choices = "-o SCENE, a folder to be made" + (", or -o out.mp4" if takes == "both" else "")
            raise InputError("no place for the result", "-o is missing", f"add {choices}")
    require_apart(works)
    if list(arguments) != ["-"] and works[0].is_pair:
        _require_photographs(works[0].pair)  # the rest of a list is done even if one line cannot be read
    return works


def _require_photographs(paths: Sequence[Path]) -> None:
    """Raise InputError when one of them cannot be opened. It needs no torch, so a mistyped name is refused at once."""
    from stages.files.image_decoding import opened

    for path in paths:
        with opened(path):
            pass


def require_something_at(path: Path, hint: str) -> None:
    """Raise InputError when there is neither a file nor a folder."""
    if not path.exists():
        raise InputError(f"nothing at {path}", "there is no such file or folder", hint)


def _refuse_addresses(paths: Sequence[str]) -> None:
    """Raise InputError when a path is an address on the web."""
    for path in paths:
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path):
            why, hint = "it is an address, not a file", "download it first, or give its path"
            raise InputError(f"cannot read {path}", why, hint)


def require_apart(works: Sequence[Work]) -> None:
    """Raise InputError when two results have the same path."""
    targets = [os.path.realpath(work.out or work.paths[0]) for work in works]
    twice = {target for target in targets if targets.count(target) > 1}
    if twice:
        why = f"{sorted(twice)[0]} is named twice"
        raise InputError("two results in one place", why, "give each an out of its own, or one at a time")


def run_each(works: Sequence[Work], run: Callable[[Work], None], report: Report) -> None:
    """Do all the work. A failure in a list is reported and does not stop the rest.

    At the end RunError counts the failures.
    """
    if len(works) == 1:
        return run(works[0])
    failed = 0
    for work in works:
        try:
            run(work)
        except (WeightsError, DeviceError, BrokenPipeError):
            raise  # The rest would fail in the same way.
        except Exception as error:
            report.error(error)
            failed += 1
    if failed:
        why = f"{failed} of {len(works)} failed, the messages are above"
        raise RunError("not all of the list was done", why, "correct those lines and run the list again")
