"""Published test sets as two-view scenes: RealEstate10K and ACID in pixelSplat's chunks, and COLMAP folders.

COLMAP folders are those of Mip-NeRF 360 and of Tanks and Temples. Unpacking writes the folder that cases.py reads, with
only the frames that its cases use.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stages.errors import InputError
from stages.files.colmap import MODEL, read_colmap
from stages.files.documents import read_json, sha256_file
from stages.files.image_decoding import image_size
from stages.files.images import fit, read_image, write_png
from stages.files.publish import publish
from stages.files.realestate import Recording
from stages.files.transforms import write_transforms
from stages.geometry import crop_intrinsics, resize_intrinsics
from stages.scene import Cameras

SQUARE = 256  # side in pixels of RealEstate10K and ACID images, as in pixelSplat and MVSplat
SHORT_SIDE = 256  # short side in pixels of COLMAP images
SOURCE = "source.json"  # file in an unpacked scene that records its source
# If no index lists the cases of a COLMAP scene, every STRIDE-th image is a test image, as in Mip-NeRF 360. The context
# frames of a case are two consecutive test images. A scene gets at most CASES cases.
STRIDE, CASES = 8, 3

PROTOCOL = {
    "chunks": f"covered by {SQUARE} x {SQUARE} (Lanczos) and cut at the centre, as pixelSplat does; cases of its index",
    "colmap": (
        f"images_N of the least size that still has a short side of {SHORT_SIDE}, resized to that, sides cut to "
        "multiples of 16"
    ),
    "colmap cases": (
        f"those of an index, or {CASES} evenly spaced pairs of images {STRIDE} apart in order of name, targets those "
        "between"
    ),
}


@dataclass(frozen=True)
class Entry:
    """A case of an index: its context frames and its target frames."""

    context: tuple[int, int]
    targets: tuple[int, ...]

    @property
    def frames(self) -> list[int]:
        """All frames of the case, sorted, each once."""
        return sorted({*self.context, *self.targets})

    def case(self, kind: str, frames: list[int]) -> dict[str, Any]:
        """The case for pairs.json, with indices into `frames`, the frames that were unpacked."""
        first, second = self.context
        times = [(target - first) / (second - first) for target in self.targets]
        positions = {frame: position for position, frame in enumerate(frames)}
        context, target = ([positions[frame] for frame in group] for group in (self.context, self.targets))
        return {
            "kind": kind,
            "context": context,
            "target": target,
            "times": times,
            "frames": [*self.context, *self.targets],
        }


def read_index(path: Path) -> dict[str, Entry]:
    """Read pixelSplat's evaluation index: scene -> {"context": [i, j], "target": [...]}. Null scenes are left out.

    Raises InputError when the file is malformed or has no case.
    """
    index = read_json(path)
    if not isinstance(index, dict):
        why = "it is not a mapping of scenes"
        raise InputError(f"cannot use {path}", why, 'give {"SCENE": {"context": [i, j], "target": [...]}}')
    entries = {name: _entry(path, name, value) for name, value in index.items() if value is not None}
    if not entries:
        raise InputError(f"cannot use {path}", "it has no cases", "give an evaluation index of pixelSplat")
    return entries


def _entry(path: Path, name: str, value: Any) -> Entry:
    try:
        context, targets = tuple(value["context"]), tuple(value["target"])
    except (KeyError, TypeError) as error:
        why = f"{name} lacks {error}"
        raise InputError(f"cannot use {path}", why, 'each scene has "context" and "target"') from error
    frames = (*context, *targets)
    are_frames = all(type(frame) is int and frame >= 0 for frame in frames)
    if len(context) != 2 or context[0] == context[1] or not targets or not are_frames:
        why = f"{name} has context {list(context)} and target {list(targets)}"
        raise InputError(f"cannot use {path}", why, "give two different context frames and at least one target")
    return Entry((context[0], context[1]), targets)


def unpack_recording(recording: Recording, entry: Entry, kind: str, folder: Path) -> None:
    """Write a scene of a chunk as a two-view scene. Raises InputError when a frame is missing or damaged."""

    def load(frames: list[int]) -> tuple[list[Tensor], list[Tensor], Tensor]:
        images, Ks = [], []
        for frame in frames:
            image = recording.image(frame)
            size = (image.shape[1], image.shape[2])
            small, K = cover(image, recording.cameras([frame], size).K[0])
            images.append(small)
            Ks.append(K)
        return images, Ks, recording.c2w[frames]

    def content(frame: int) -> bytes:
        parts = (recording.encoded, recording.intrinsics, recording.c2w)
        return b"".join(part[frame].numpy().tobytes() for part in parts)

    _unpack(recording.key, len(recording), [entry], kind, folder, load, content)


def unpack_colmap(scene: Path, entries: list[Entry] | None, kind: str, folder: Path) -> None:
    """Write a COLMAP scene (sparse/0, and images or images_N) as a two-view scene.

    entries: the cases; None stands for `held_out_pairs`.
    Raises InputError when the model or an image cannot be read, or there are too few images.
    """
    cameras, names = read_colmap(scene)
    order = sorted(range(len(names)), key=lambda index: names[index])
    entries = held_out_pairs(len(names)) if entries is None else entries
    if not entries:
        raise InputError(f"cannot use {scene}", f"{len(names)} images", f"give at least {STRIDE + 1}, or an index")
    source = images_folder(scene, names[order[0]])

    def load(frames: list[int]) -> tuple[list[Tensor], list[Tensor], Tensor]:
        images, Ks = [], []
        for frame in frames:
            image = read_image(source / names[order[frame]])
            K = resize_intrinsics(cameras.K[order[frame]], cameras.size, (image.shape[1], image.shape[2]))
            small, fitted = fit(image, K, SHORT_SIDE)
            images.append(small)
            Ks.append(fitted)
        return images, Ks, cameras.c2w[[order[frame] for frame in frames]]

    def content(frame: int) -> bytes:
        camera = [part[order[frame]].numpy().tobytes() for part in (cameras.K, cameras.c2w)]
        return b"".join([sha256_file(source / names[order[frame]]).encode(), *camera])

    _unpack(scene.name, len(names), entries, kind, folder, load, content)


def held_out_pairs(count: int) -> list[Entry]:
    """The cases of a scene of `count` images that has no index: at most CASES, evenly spaced.

    The context frames of a case are two consecutive test images. Its targets are all images between them.
    """
    starts = list(range(0, count - STRIDE, STRIDE))
    picked = sorted({starts[round(k * (len(starts) - 1) / max(1, CASES - 1))] for k in range(CASES)}) if starts else []
    return [Entry((start, start + STRIDE), tuple(range(start + 1, start + STRIDE))) for start in picked]


def images_folder(scene: Path, name: str) -> Path:
    """The folder (images, images_2, ...) with the smallest version of an image whose short side is at least SHORT_SIDE.

    If all are smaller, it is the folder with the largest version. Raises InputError if no folder has the image `name`.
    """
    sizes = {}
    for folder in sorted(scene.glob("images*")):
        if (folder / name).is_file():
            sizes[folder] = min(image_size(folder / name))
    if not sizes:
        why = f"{name} is in none of its images folders"
        raise InputError(f"cannot use {scene}", why, "give the scene with images or images_N")
    enough = {folder: side for folder, side in sizes.items() if side >= SHORT_SIDE}
    return min(enough, key=lambda folder: enough[folder]) if enough else max(sizes, key=lambda folder: sizes[folder])


def is_colmap(folder: Path) -> bool:
    """Whether a folder is a scene with a COLMAP model."""
    return (folder / MODEL).is_dir()


def cover(image: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """Resize an image to cover the square and crop its centre, as pixelSplat's rescale_and_crop does (8-bit Lanczos).

    image: [3, h, w].  K: [3, 3], pixels.
    """
    old = (image.shape[1], image.shape[2])
    scale = SQUARE / min(old)
    new = (round(old[0] * scale), round(old[1] * scale))
    picture = Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy())
    pixels = picture.resize((new[1], new[0]), Image.Resampling.LANCZOS)
    top, left = (new[0] - SQUARE) // 2, (new[1] - SQUARE) // 2
    square = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[:, top : top + SQUARE, left : left + SQUARE]
    return square.float() / 255, crop_intrinsics(resize_intrinsics(K, old, new), left, top)


Load = Callable[[list[int]], tuple[list[Tensor], list[Tensor], Tensor]]
"""Frame indices -> images, intrinsics, camera-to-world poses."""


def _unpack(
    name: str, count: int, entries: list[Entry], kind: str, folder: Path, load: Load, content: Callable[[int], bytes]
) -> None:
    """Write the frames of the entries, unless they are up to date.

    content: image and camera of a frame, as bytes to hash.
    """
    # Return if the scene was unpacked from the same content before.
    frames = sorted({frame for entry in entries for frame in entry.frames})
    if frames[-1] >= count:
        why = f"its case names frame {frames[-1]}, it has {count}"
        raise InputError(f"cannot use {name}", why, "give the index of this set")
    pairs = json.dumps([entry.case(kind, frames) for entry in entries], indent=1)
    digest = hashlib.sha256(pairs.encode())
    for frame in frames:
        digest.update(content(frame))
    source = json.dumps({"protocol": PROTOCOL, "sha256": digest.hexdigest()})
    if (folder / SOURCE).is_file() and (folder / SOURCE).read_text() == source:
        return
    # Read the frames and write the scene.
    images, Ks, c2w = load(frames)
    if len({image.shape for image in images}) > 1:
        raise InputError(f"cannot use {name}", "its images differ in size", "give images of one size")
    with publish(folder) as partial:
        paths = [f"images/{frame:06d}.png" for frame in frames]
        for path, image in zip(paths, images, strict=True):
            write_png(partial / path, image)
        cameras = Cameras(c2w, torch.stack(Ks), (images[0].shape[1], images[0].shape[2]))
        write_transforms(partial / "transforms.json", cameras, paths)
        (partial / "pairs.json").write_text(pairs)
        (partial / SOURCE).write_text(source)
