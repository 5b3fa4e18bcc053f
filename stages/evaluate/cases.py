"""Two-view cases: which frames of a scene a method gets, and which it must produce.

A scene folder holds transforms.json (nerfstudio's format) and pairs.json, a list of
{"kind": "medium" | "wide", "context": [i, j], "target": [...]} with indices into the frames of transforms.json. If
these are not all frames of a video, "times" gives the position of each target: 0 at the first context frame, 1 at the
second.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.errors import InputError
from stages.files.documents import read_json
from stages.files.images import read_image
from stages.files.transforms import find_transforms, read_transforms
from stages.scene import Cameras, Views


@dataclass(frozen=True)
class Case:
    """One task: two context frames and some target frames of a scene, as indices into its transforms.json.

    times: positions of the targets, or None if they follow from the indices.
    """

    scene: Path
    kind: str
    context: tuple[int, int]
    targets: tuple[int, ...]
    times: tuple[float, ...] | None = None

    @property
    def name(self) -> str:
        """Scene and context frames. Names must differ: the two-view report refuses two cases of one name."""
        return f"{self.scene.name}-{self.context[0]:04d}-{self.context[1]:04d}"


@dataclass(frozen=True, eq=False)
class Task:
    """A case with its images and cameras.

    context: the two photographs.  cameras: the T target cameras.  truth: [T, 3, h, w].
    times: [T], the position of each target between the photographs, 0 at the first and 1 at the second.
    """

    context: Views
    cameras: Cameras
    truth: Tensor
    times: Tensor

    def to(self, device: torch.device) -> Task:
        """Move the images. Cameras and times stay on the CPU."""
        return Task(self.context.to(device), self.cameras, self.truth.to(device), self.times)


def find_scenes(folders: list[Path]) -> list[Path]:
    """The scene folders: each of `folders` that is one, and in place of any other the scenes directly inside it.

    The order is that of `folders`. The scenes inside one folder are sorted by name. Raises InputError if a folder has
    none.
    """
    scenes = []
    for folder in folders:
        inside = [path.parent for path in find_transforms(folder)]
        if not inside:
            why = "there is no transforms.json in it or one level below"
            raise InputError(f"cannot evaluate {folder}", why, "give scene folders")
        scenes += inside
    return scenes


def read_cases(scene: Path) -> list[Case]:
    """The cases of a scene folder. Raises InputError if pairs.json is missing, malformed, or names missing frames."""
    path = scene / "pairs.json"
    try:
        entries = read_json(path)
    except InputError as error:
        raise InputError(error.what, error.why, "a two-view scene has a pairs.json beside transforms.json") from error
    count = len(read_transforms(scene / "transforms.json")[0])
    if not isinstance(entries, list) or not entries:
        why = "it is not a list of cases"
        raise InputError(f"cannot use {path}", why, 'list {"kind", "context", "target"} objects')
    return [_case(scene, entry, count) for entry in entries]


def _case(scene: Path, entry: Any, count: int) -> Case:
    what = f"cannot use {scene / 'pairs.json'}"
    try:
        kind, context, targets = entry["kind"], tuple(entry["context"]), tuple(entry["target"])
    except (KeyError, TypeError) as error:
        raise InputError(what, f"a case lacks {error}", 'each case has "kind", "context" and "target"') from error
    frames = (*context, *targets)
    if not isinstance(kind, str) or len(context) != 2 or context[0] == context[1] or not targets:
        why = f"a case is {entry}"
        raise InputError(what, why, "give a kind, two different context frames and at least one target")
    if not all(isinstance(i, int) and 0 <= i < count for i in frames):
        raise InputError(what, f"a case names frames {frames}, the scene has {count}", "count frames from 0")
    times = entry.get("times")
    if times is None:
        return Case(scene, kind, context, targets)
    are_numbers = isinstance(times, list) and all(isinstance(time, (int, float)) for time in times)
    if not are_numbers or len(times) != len(targets):
        raise InputError(what, f"a case has times {times} for targets {targets}", "give one number per target")
    return Case(scene, kind, context, targets, tuple(float(time) for time in times))


def load_task(case: Case) -> Task:
    """Read the images and cameras of a case. Raises InputError if an image is missing or of the wrong size."""
    cameras, names = read_transforms(case.scene / "transforms.json")
    first, second = case.context
    context = Views(_read(case, names, case.context, cameras.size), cameras[list(case.context)])
    evenly_spaced = (torch.tensor(case.targets, dtype=torch.float32) - first) / (second - first)
    times = evenly_spaced if case.times is None else torch.tensor(case.times)
    return Task(context, cameras[list(case.targets)], _read(case, names, case.targets, cameras.size), times)


def _read(case: Case, names: list[str], indices: tuple[int, ...], size: tuple[int, int]) -> Tensor:
    images = []
    for index in indices:
        image = read_image(case.scene / names[index])
        if image.shape[1:] != size:
            why = f"{names[index]} is {image.shape[2]} x {image.shape[1]}, transforms.json says {size[1]} x {size[0]}"
            raise InputError(f"cannot use {case.scene}", why, "give the images that belong to transforms.json")
        images.append(image)
    return torch.stack(images)
