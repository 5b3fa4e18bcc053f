"""Procedural worlds for training: any number of scenes with exact depth and cameras, on which nobody has rights.

textures    surfaces: images of a folder, and procedural tiles
primitives  ray casting of boxes, balls and cylinders
layouts     rooms, corridors, table-tops, open places
photograph  colour, depth, shading, exposure, noise
motion      pairs of cameras, and poses between them
"""

import torch
from torch import Generator

from stages.scene import Cameras, Views
from stages.worlds.layouts import World, make_world
from stages.worlds.motion import between, sample_pair
from stages.worlds.photograph import expose, photograph
from stages.worlds.textures import Textures, load_textures

__all__ = ["Textures", "World", "expose", "load_textures", "make_world", "photograph", "sample_scene"]


def sample_scene(
    textures: Textures, generator: Generator, size: tuple[int, int], times: list[float], shadows: bool = True
) -> Views:
    """A random world, photographed by a pair of cameras and at `times` between them (0 the first camera, 1 the second).

    Returns the pair's views, then one view per time, all with exact depth. The images are clean: see `expose` for what
    real cameras add.
    """
    pair = None
    while pair is None:
        world = make_world(generator, textures.count)
        pair = sample_pair(world, generator, size)
    poses = torch.stack([pair.c2w[0], pair.c2w[1], *(between(pair.c2w[0], pair.c2w[1], t) for t in times)])
    cameras = Cameras(poses, pair.K[:1].expand(len(poses), 3, 3), size)
    return photograph(world, textures, cameras, shadows)
