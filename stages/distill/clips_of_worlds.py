"""Training clips from procedural worlds: photographs and truth are ray-cast, and the render is the prior's.

A shard depends only on the textures, the prior and the pair (seed, number).
"""

from pathlib import Path

import torch
from torch import Generator, Tensor

from stages.distill.clip_shards import Example, write_clips
from stages.pipeline import CoarseScene, coarse_scene, render_path
from stages.prior.network import MVSplat
from stages.prior.predict import carve, predict_in_range
from stages.scene import Cameras, Views
from stages.trajectory import interpolate
from stages.video.warp import warp
from stages.worlds import Textures, World, expose, make_world, photograph
from stages.worlds.motion import sample_pair
from stages.worlds.photograph import free
from stages.worlds.shards import shard_generator, shard_path

# Sizes (h, w) of shards 0, 1, ... in turn. They are those of users' videos: a blur of a few pixels must be learnt at
# the size at which it is repaired.
SIZES = ((192, 256), (256, 256), (256, 336), (256, 192), (208, 304))
PATH_FRAMES, CLIP_FRAMES = 49, 9  # numbers of frames of the path between two photographs, and of a clip
STRIDES = (6, 6, 3, 2, 1)  # frame strides along the path, one chosen at random per clip; 6 covers the whole path
CLIPS = 8  # number of clips per shard
SHADOW_SHARE = 0.3  # share of worlds whose first lamp casts shadows; these take half as long again to ray-cast
CLEARANCE = 0.15  # distance in metres that the camera keeps from all surfaces


def write_shard(folder: Path, textures: Textures, network: MVSplat, seed: int, number: int, clips: int = CLIPS) -> Path:
    """Make shard `number` of the sequence of shards that `seed` gives, publish it and return its path."""
    generator = shard_generator(seed, number)
    size = SIZES[number % len(SIZES)]
    path = shard_path(folder, number)
    write_clips(path, [world_clip(textures, network, generator, size) for _ in range(clips)])
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
    images = expose(cast.images, generator)
    views = Views(images[:2], cameras[chosen[:2]])
    prediction = predict_in_range(views, sample_depth_range(cast.depth[:2], generator), network)
    scene = coarse_scene(carve(prediction, views), views)
    return make_example(scene, views, images[2:], cameras[chosen[2:]])


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


def sample_depth_range(depth: Tensor, generator: Generator) -> Tensor:
    """A random range of depth around the true one, [2, 2]: about as wide as the best range that `predict` finds.

    depth: [2, h, w], the true one.
    """
    low, high = depth.flatten(1).quantile(torch.tensor([0.02, 0.98]), -1)
    near = low * (0.65 + 0.35 * torch.rand(2, generator=generator))
    far = high * (1 + 1.5 * torch.rand(2, generator=generator))
    return torch.stack([near, far], -1)
