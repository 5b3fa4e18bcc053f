"""Training clips from procedural worlds: photographs and truth are ray-cast, and the render is the prior's.

With furniture, shards show furnished worlds, except one in twelve. That one, and all shards without furniture, show
worlds of primitive shapes. A shard depends only on the worlds' materials, the prior and the pair (seed, number).
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from stages.distill.clip_shards import Example, write_clips
from stages.distill.prior_pairs import range_of_matches
from stages.distill.prior_worlds import shows_furniture
from stages.distill.simulated_points import simulated_points
from stages.pipeline import CoarseScene, coarse_scene, render_path
from stages.prior.network import MVSplat
from stages.prior.predict import AS_GIVEN, predict
from stages.scene import Cameras, Views
from stages.trajectory import interpolate
from stages.video.warp import warp
from stages.worlds import Textures, World, expose, make_world, photograph
from stages.worlds.furnished import Assets, draw_furnished_scene
from stages.worlds.furnished.camera import take_photographs
from stages.worlds.motion import sample_pair
from stages.worlds.photograph import free
from stages.worlds.shards import shard_generator, shard_path

# Sizes (h, w) of shards 0, 1, ... in turn. They are those of users' videos: a blur of a few pixels must be learnt at
# the size at which it is repaired.
SIZES = ((192, 256), (256, 256), (256, 336), (256, 192), (208, 304))
PATH_FRAMES, CLIP_FRAMES = 49, 9  # numbers of frames of the path between two photographs, and of a clip
STRIDES = (6, 6, 3, 2, 1)  # frame strides along the path, one chosen at random per clip; 6 covers the whole path
# The share of the path that a clip covers, for each stride.
SHARES = tuple(stride * (CLIP_FRAMES - 1) / (PATH_FRAMES - 1) for stride in STRIDES)
CLIPS = 8  # number of clips per shard
SHADOW_SHARE = 0.3  # share of worlds whose first lamp casts shadows; these take half as long again to ray-cast
CLEARANCE = 0.15  # distance in metres that the camera keeps from all surfaces


def write_shard(
    folder: Path,
    textures: Textures,
    assets: Assets | None,
    network: MVSplat,
    seed: int,
    number: int,
    clips: int = CLIPS,
) -> Path:
    """Make shard `number` of the sequence of shards that `seed` gives, publish it and return its path.

    assets: furniture and its surfaces, or None for primitive shapes alone.
    """
    generator = shard_generator(seed, number)
    size = SIZES[number % len(SIZES)]
    path = shard_path(folder, number)
    if assets is not None and shows_furniture(number):
        examples = [furnished_clip(assets, network, generator, size) for _ in range(clips)]
    else:
        examples = [world_clip(textures, network, generator, size) for _ in range(clips)]
    write_clips(path, examples)
    return path


def world_clip(
    textures: Textures,
    network: MVSplat,
    generator: Generator,
    size: tuple[int, int],
    path: int = PATH_FRAMES,
    frames: int = CLIP_FRAMES,
) -> Example:
    """A clip in a new random world, filmed along the path between two photographs, or along a part of it.

    size: (h, w).  path: number of frames of the whole path.  frames: number of frames of the clip, 4k + 1.
    """
    # Choose a world, a path in it, and the part of the path that is filmed.
    world, cameras = sample_path(textures.count, generator, size, path)
    stride = min(STRIDES[int(torch.randint(len(STRIDES), (), generator=generator))], (path - 1) // (frames - 1))
    first = int(torch.randint(path - stride * (frames - 1), (), generator=generator))
    chosen = [0, path - 1, *range(first, first + stride * frames, stride)]
    # Take the photographs and the truth, and render the prior's Gaussians along the clip.
    cast = photograph(world, textures, cameras[chosen], float(torch.rand((), generator=generator)) < SHADOW_SHARE)
    assert cast.depth is not None
    return _clip(Views(expose(cast.images, generator), cast.cameras, cast.depth), network, generator)


def furnished_clip(
    assets: Assets, network: MVSplat, generator: Generator, size: tuple[int, int], frames: int = CLIP_FRAMES
) -> Example:
    """`world_clip` in a new furnished world, at even speed. Raises InputError without Embree."""
    # The part of the path that is filmed, from 0 at the first photograph to 1 at the second.
    share = SHARES[int(torch.randint(len(SHARES), (), generator=generator))]
    first = (1 - share) * float(torch.rand((), generator=generator))
    world = int(torch.randint(2**62, (), generator=generator))
    views = draw_furnished_scene(assets, world, size, torch.linspace(first, first + share, frames).tolist())
    return _clip(replace(views, images=take_photographs(views.images, generator)), network, generator)


def _clip(views: Views, network: MVSplat, generator: Generator) -> Example:
    """The clip of a world: two photographs, and then the truth along a path, all with true depth."""
    assert views.depth is not None, "worlds have depth"
    photographs, depth, c2w, K = views.images[:2], views.depth[:2], views.cameras.c2w[:2], views.cameras.K[:1]
    known = (depth[None], c2w.float()[None], K.float())
    points = simulated_points(photographs[None], *known, generator)
    pair = Views(photographs, views.cameras[:2], points=None if points is None else points[0])
    # `predict` can try several ranges of depth and keep the best. Here it tries one, the range that matches might give,
    # because that is about as wide as the best one.
    prediction = predict(pair, range_of_matches(*known, generator)[0], network, AS_GIVEN)
    truth = slice(2, len(views.images))
    return make_example(coarse_scene(prediction, pair), pair, views.images[truth], views.cameras[truth])


def make_example(scene: CoarseScene, views: Views, truth: Tensor, cameras: Cameras) -> Example:
    """The training clip of two photographs, with the prior's render. truth: [F, 3, h, w], seen from `cameras`."""
    clip = render_path(scene.gaussians, scene.views, cameras).clip()
    assert clip.coverage is not None
    assert clip.depth is not None
    warped = warp(scene.views, cameras, clip.depth, clip.exposure)
    return Example(clip.frames, clip.coverage, truth, views.images, warped.colours, warped.weight)


def sample_path(texture_count: int, generator: Generator, size: tuple[int, int], frames: int) -> tuple[World, Cameras]:
    """A random world, and cameras on a path in it that is clear of surfaces (see `trajectory.interpolate`)."""
    while True:
        world = make_world(generator, texture_count)
        pair = sample_pair(world, generator, size)
        if pair is not None:
            cameras = interpolate(pair.c2w[0], pair.c2w[1], pair.K[0], pair.K[1], size, frames)
            if all(free(world, position, CLEARANCE) for position in cameras.c2w[:, :3, 3]):
                return world, cameras
