"""Shards of furnished worlds, in the same format as those of stages/worlds/shards.py."""

from pathlib import Path

import torch

from stages.scene import Views
from stages.worlds.furnished import Assets, draw_furnished_scene
from stages.worlds.furnished.camera import take_photographs
from stages.worlds.shards import save_shard, shard_generator, shard_path


def write_furnished_shard(
    folder: Path, assets: Assets, seed: int, number: int, scenes: int, size: tuple[int, int]
) -> Path:
    """Make shard `number` for `seed` with `scenes` scenes of pictures of `size` (h, w). Returns its path."""
    generator = shard_generator(seed, number)
    views_of_scenes = []
    for _ in range(scenes):
        inside, beyond = torch.rand(2, generator=generator).tolist()
        world = int(torch.randint(2**62, (), generator=generator))
        views = draw_furnished_scene(assets, world, size, [0.15 + 0.7 * inside, -0.2 + 1.4 * beyond])
        views_of_scenes.append(Views(take_photographs(views.images, generator), views.cameras, views.depth))
    path = shard_path(folder, number)
    save_shard(path, views_of_scenes)
    return path
