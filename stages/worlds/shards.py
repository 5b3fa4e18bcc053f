"""Shards of photographed worlds on disk, so that several trainings can read the same worlds.

A shard depends only on (seed, shard number, number of scenes, size). It is a safetensors file:
  images [S, V, 3, h, w] uint8   two context views as a camera takes them, then the views to predict, without noise
  depth  [S, V, h, w] float16    camera z, metres
  c2w    [S, V, 4, 4] float32    K [S, 3, 3] float32, pixels
"""

from pathlib import Path

import torch
from torch import Generator

from stages.files.weight_tensors import write_safetensors
from stages.scene import Views
from stages.worlds import Textures, expose, sample_scene


def shard_path(folder: Path, number: int) -> Path:
    """The file of shard `number`."""
    return folder / f"{number:05d}.safetensors"


def shard_generator(seed: int, number: int) -> Generator:
    """The generator of all random numbers in shard `number` of the set `seed`."""
    return Generator().manual_seed(seed * 1_000_003 + number)


def write_shard(folder: Path, textures: Textures, seed: int, number: int, scenes: int, size: tuple[int, int]) -> Path:
    """Make shard `number` of the set `seed` and publish it. scenes: their number.  size: (h, w).  Returns its path."""
    generator = shard_generator(seed, number)
    photographed = []
    for _ in range(scenes):
        # One view between the photographs, one possibly beyond them.
        inside, beyond = torch.rand(2, generator=generator).tolist()
        shadows = float(torch.rand((), generator=generator)) < 0.6
        views = sample_scene(textures, generator, size, [0.15 + 0.7 * inside, -0.2 + 1.4 * beyond], shadows)
        # One exposure for all views, then what differs between the two photographs.
        photographed.append(Views(expose(views.images, generator), views.cameras, views.depth))
    path = shard_path(folder, number)
    save_shard(path, photographed)
    return path


def save_shard(path: Path, scenes: list[Views]) -> None:
    """Publish scenes as a shard. All have the same number of views, one size, and depth."""
    tensors = {
        "images": torch.stack([(views.images * 255).round().to(torch.uint8) for views in scenes]),
        "depth": torch.stack([views.depth.half() for views in scenes if views.depth is not None]),
        "c2w": torch.stack([views.cameras.c2w.float() for views in scenes]),
        "K": torch.stack([views.cameras.K[0].float() for views in scenes]),
    }
    write_safetensors(path, tensors)
