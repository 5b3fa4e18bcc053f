"""Training pairs for the prior from real recordings with known cameras. They have no depth, only pictures.

A shard holds what `prior_pairs` reads: images [S, V, 3, h, w] uint8, c2w [S, V, 4, 4], K [S, 3, 3], and
near_far [S, 2, 2], the range of depth that matches between the two photographs show.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Generator, Tensor

from stages.distill.clips_of_recordings import TRIES, Recording, crop_frames
from stages.errors import InputError, RunError
from stages.files.weight_tensors import write_safetensors
from stages.prior.pose import match_views
from stages.scene import Views
from stages.worlds.shards import shard_generator, shard_path

FARTHEST = 32  # largest distance between the two photographs, in frames of the recording
PREDICTED = 2  # number of further views, at random between the photographs
SAME_FOCAL = 1e-3  # intrinsics that differ by a larger share are not those of one camera


def write_pairs(
    folder: Path,
    recordings: Sequence[Recording],
    seed: int,
    number: int,
    sizes: Sequence[tuple[int, int]],
    scenes: int,
) -> Path:
    """Make shard `number` of the sequence of shards that `seed` gives, publish it and return its path.

    sizes: possible sizes (h, w) of its pictures, of which it has one.

    Raises InputError when the recordings give too few pairs.
    """
    generator = shard_generator(seed, number)
    size = sizes[int(torch.randint(len(sizes), (), generator=generator))]
    pairs: list[dict[str, Tensor]] = []
    for _ in range(TRIES * scenes):
        pair = recorded_pair(recordings[int(torch.randint(len(recordings), (), generator=generator))], generator, size)
        pairs += [] if pair is None else [pair]
        if len(pairs) == scenes:
            path = shard_path(folder, number)
            write_safetensors(path, {name: torch.stack([pair[name] for pair in pairs]) for name in pairs[0]})
            return path
    why = f"{TRIES * scenes} tries gave {len(pairs)} of {scenes} pairs of {size[1]} x {size[0]}"
    raise InputError("cannot make training pairs", why, "give longer recordings of one lens that move")


def recorded_pair(recording: Recording, generator: Generator, size: tuple[int, int]) -> dict[str, Tensor] | None:
    """Two random frames of a recording and some between them, cropped to `size` (h, w).

    None if the recording is too short, its camera stands still, or its lens changes.
    """
    most = min(FARTHEST, len(recording) - 1)
    if most < 2:
        return None
    distance = int(torch.randint(2, most + 1, (), generator=generator))
    first = int(torch.randint(len(recording) - distance, (), generator=generator))
    between = torch.randint(first + 1, first + distance, (PREDICTED,), generator=generator).tolist()
    images, cameras = crop_frames(recording, [first, first + distance, *between], size)
    if bool(((cameras.K - cameras.K[0]).abs() > SAME_FOCAL * cameras.K[0, 0, 0]).any()):
        return None
    try:
        near_far = match_views(Views(images[:2], cameras[:2]))[1]
    except RunError:  # The two photographs are taken from one point.
        return None
    pictures = (images * 255).round().to(torch.uint8)
    return {"images": pictures, "c2w": cameras.c2w, "K": cameras.K[0], "near_far": near_far.float()}
