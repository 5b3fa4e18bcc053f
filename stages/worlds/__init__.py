"""Procedural worlds: endless scenes with exact depth and cameras, free of anyone's rights, to train on.

textures    surfaces: photographs of a folder and procedural tiles
primitives  ray casting of boxes, balls, cylinders
layouts     rooms, corridors, table-tops, open places
photograph  colour, depth, shading, exposure, noise
motion      camera pairs and the way between
"""

from __future__ import annotations

import torch
from torch import Generator

from stages.scene import Cameras, Views
from stages.worlds.layouts import World, make_world
from stages.worlds.motion import between, draw_pair
from stages.worlds.photograph import expose, photograph
from stages.worlds.textures import Textures, load_textures

__all__ = ["Textures", "World", "draw_scene", "expose", "load_textures", "make_world", "photograph"]


def draw_scene(textures: Textures, generator: Generator, size: tuple[int, int], times: list[float], shadows: bool = True) -> Views:
    """A fresh world photographed from a pair of cameras and at `times` on the way between (0 first, 1 second camera).

    Returns Views: the pair, then one view per time, all with exact depth. Clean: see `expose` for what cameras add.
    """
    pair = None
    while pair is None:
        world = make_world(generator, textures.count)
        pair = draw_pair(world, generator, size)
    poses = torch.stack([pair.c2w[0], pair.c2w[1], *(between(pair.c2w[0], pair.c2w[1], t) for t in times)])
    cameras = Cameras(poses, pair.K[:1].expand(len(poses), 3, 3), size)
    return photograph(world, textures, cameras, shadows)
