"""Furnished worlds: rooms, streets and table-tops of real models, ray-cast by Embree; needs the extra `worlds`.

catalogue, roles, simplify, pack, make_pack   models of a furniture catalogue -> one file
atlas, assets, palette                        textures, models, and random choices among both
mesh, clutter, trees, openings, plan          the triangles of a world and its building blocks
rooms, streets, table_tops                    where things stand
raycast, lighting, render                     colour and exact depth
pairs, camera, shards                         where cameras stand, exposure and noise, files for training
"""

import numpy as np
import torch

from stages.scene import Cameras, Views
from stages.worlds.furnished.assets import Assets, require_embree
from stages.worlds.furnished.camera import develop
from stages.worlds.furnished.pack import Pack, load_pack
from stages.worlds.furnished.pairs import between, sample_pair
from stages.worlds.furnished.palette import Palette
from stages.worlds.furnished.raycast import Caster
from stages.worlds.furnished.render import World, photograph
from stages.worlds.furnished.rooms import make_room
from stages.worlds.furnished.streets import make_street
from stages.worlds.furnished.table_tops import make_table_top

__all__ = ["Assets", "Pack", "World", "draw_furnished_scene", "load_pack", "make_furnished_world"]

STREETS, TABLE_TOPS = 0.33, 0.15  # shares of the worlds; the rest are rooms


def make_furnished_world(assets: Assets, rng: np.random.Generator) -> World:
    """A random world. Raises InputError without Embree."""
    require_embree()
    palette = Palette(assets, rng)
    kind = rng.random()
    sky = np.array([[0.3, 0.5, 0.95], [0.75, 0.85, 0.95]], np.float32) * float(rng.uniform(0.8, 2.0))
    if kind < STREETS:
        lights, stand, aim = make_street(palette)
        day = float(rng.uniform(0.8, 1.5)) if lights else float(rng.uniform(0.9, 1.6))
        sky = (
            sky * day
            if lights
            else np.full((2, 3), 0.9 * day, np.float32) * rng.uniform(0.85, 1.0, (2, 1)).astype(np.float32)
        )
        ambient, above, reach = np.array([0.42, 0.48, 0.58]) * rng.uniform(0.6, 1.2), 0.35, 3.0
        if not lights:
            ambient = np.array([0.8, 0.82, 0.86]) * rng.uniform(0.8, 1.2)
    else:
        if kind < STREETS + TABLE_TOPS:
            lights, stand, aim = make_table_top(palette)
        else:
            lights, stand, aim, _ = make_room(palette)
        ambient, above, reach = np.array([0.3, 0.29, 0.28]) * rng.uniform(0.5, 1.6), 0.15, 1.2
    surfaces = palette.mesh.finish()
    return World(
        surfaces, Caster(surfaces), lights, ambient.astype(np.float32), above, reach, sky.astype(np.float32), stand, aim
    )


def draw_furnished_scene(
    assets: Assets, seed: int | np.random.Generator, size: tuple[int, int], times: list[float]
) -> Views:
    """A random furnished world, photographed from a pair of cameras and from some cameras between them.

    seed: a number, which always gives the same scene, or a generator.  size: (h, w), pixels.
    times: positions of the cameras between, 0 at the first camera of the pair and 1 at the second.
    Returns the pair, then one view per time, all with exact depth and one exposure, without noise. The depth of the sky
    is raycast.SKY. Raises InputError without Embree.
    """
    rng = np.random.default_rng(seed)
    pair = None
    while pair is None:
        world = make_furnished_world(assets, rng)
        pair = sample_pair(world, rng, size)
    first, second, K = pair
    poses = np.stack([first, second, *(between(first, second, t) for t in times)])
    pictures, depths = zip(*(photograph(world, assets, pose, K, size) for pose in poses), strict=True)
    images = develop(np.stack(pictures), rng)
    cameras = Cameras(torch.from_numpy(poses).float(), torch.from_numpy(K).float().expand(len(poses), 3, 3), size)
    return Views(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), cameras, torch.from_numpy(np.stack(depths)))
