"""Training clips from real recordings with known cameras: folders with a transforms.json, and RealEstate10K chunks.

The truth is a stretch of recorded frames, the photographs are its first and last frame, and the render is the prior's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Generator, Tensor

from stages.distill.clip_shards import Example, write_clips
from stages.distill.clips_of_worlds import make_example
from stages.errors import InputError, RunError
from stages.files.images import fit, read_image
from stages.files.realestate import read_chunk
from stages.files.transforms import find_transforms, read_transforms
from stages.geometry import crop_intrinsics
from stages.pipeline import predict_gaussians
from stages.prior.network import MVSplat
from stages.prior.pose import match_views
from stages.scene import Cameras, Views
from stages.worlds.shards import shard_generator, shard_path

TRIES = 50  # number of stretches tried per clip of a shard before the recordings count as unusable
LARGEST_STRIDE = 4  # largest distance between two frames of a clip, in frames of the recording


class Recording(Protocol):
    """A video with a camera for each frame: `PosedFolder`, or `stages.files.realestate.Recording`."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> Tensor:
        """A frame, [3, h, w] in [0, 1]."""

    def cameras(self, indices: list[int], size: tuple[int, int]) -> Cameras:
        """The cameras of some frames, for images of `size` (h, w)."""


@dataclass(frozen=True, eq=False)
class PosedFolder:
    """The frames of a transforms.json, in its order. own: their cameras.  paths: their image files."""

    own: Cameras
    paths: list[Path]

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, index: int) -> Tensor:
        """A frame, [3, h, w] in [0, 1]. Raises InputError for a missing or damaged file, or a wrong size."""
        image = read_image(self.paths[index])
        if image.shape[1:] != self.own.size:
            why = f"{self.paths[index].name} is {tuple(image.shape[1:])}, its camera {self.own.size}"
            hint = "give the images that belong to transforms.json"
            raise InputError(f"cannot use {self.paths[index].parent}", why, hint)
        return image

    def cameras(self, indices: list[int], size: tuple[int, int]) -> Cameras:
        """The cameras of some frames. `size` must be that of the images."""
        return self.own[indices]


def find_recordings(source: Path) -> list[Recording]:
    """The recordings of a source: a scene folder, a folder of scene folders, a .torch chunk, or a folder of chunks.

    Raises InputError when the source is none of these. Images are read only when they are asked for.
    """
    chunks = [source] if source.suffix == ".torch" else sorted(source.glob("*.torch"))
    if chunks:
        return [recording for chunk in chunks for recording in read_chunk(chunk)]
    transforms = find_transforms(source)
    if not transforms:
        why = "it holds neither transforms.json nor .torch chunks"
        raise InputError(f"no recordings in {source}", why, "give posed scenes")
    return [posed_folder(path) for path in transforms]


def posed_folder(transforms: Path) -> PosedFolder:
    """The recording that a transforms.json describes."""
    cameras, names = read_transforms(transforms)
    return PosedFolder(cameras, [transforms.parent / name for name in names])


def write_shard(
    folder: Path,
    recordings: Sequence[Recording],
    network: MVSplat,
    seed: int,
    number: int,
    size: tuple[int, int],
    frames: int,
    clips: int,
) -> Path:
    """Make one shard of random stretches of `frames` frames, cropped to `size` (h, w).

    number: which shard of the sequence that `seed` gives.  Returns its path.
    Raises InputError when no recording is long and large enough.
    """
    # Sample stretches until there are enough clips.
    generator = shard_generator(seed, number)
    examples: list[Example] = []
    for _ in range(TRIES * clips):
        recording = recordings[int(torch.randint(len(recordings), (), generator=generator))]
        clip = recorded_clip(recording, network, generator, size, frames)
        examples += [clip] if clip is not None else []
        if len(examples) == clips:
            path = shard_path(folder, number)
            write_clips(path, examples)
            return path
    why = f"{TRIES * clips} tries gave {len(examples)} of {clips} clips, of {frames} frames of {size[1]} x {size[0]}"
    raise InputError("cannot make training clips", why, "give longer recordings that move, or make smaller clips")


def recorded_clip(
    recording: Recording, network: MVSplat, generator: Generator, size: tuple[int, int], frames: int
) -> Example | None:
    """A clip of consecutive frames, or of every second to fourth.

    None if the recording is too short or its camera stands still.
    """
    largest = min(LARGEST_STRIDE, (len(recording) - 1) // (frames - 1))
    if largest < 1:
        return None
    stride = int(torch.randint(1, largest + 1, (), generator=generator))
    start = int(torch.randint(len(recording) - stride * (frames - 1), (), generator=generator))
    truth, cameras = crop_frames(recording, list(range(start, start + stride * frames, stride)), size)
    views = Views(truth[[0, -1]], cameras[[0, -1]])
    try:
        views, near_far = match_views(views)
    except RunError:  # The two photographs are taken from one point.
        return None
    return make_example(predict_gaussians(views, near_far, network), views, truth, cameras)


def crop_frames(recording: Recording, indices: list[int], size: tuple[int, int]) -> tuple[Tensor, Cameras]:
    """Some frames, resized and centre-cropped to `size` (h, w): [F, 3, h, w], with their cameras in float32."""
    images, poses, intrinsics = [], [], []
    for index in indices:
        image = recording.image(index)
        h, w = image.shape[-2:]
        camera = recording.cameras([index], (h, w))
        image, K = fit(image, camera.K[0], math.ceil(min(h, w) * max(size[0] / h, size[1] / w)), 1)
        top, left = ((have - want) // 2 for have, want in zip(image.shape[-2:], size, strict=True))
        images.append(image[:, top : top + size[0], left : left + size[1]])
        intrinsics.append(crop_intrinsics(K, left, top))
        poses.append(camera.c2w[0])
    return torch.stack(images), Cameras(torch.stack(poses).float(), torch.stack(intrinsics).float(), size)
