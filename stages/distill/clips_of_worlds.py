"""Training clips of procedural worlds: photographs and truth are ray-cast, the render is what the prior makes of the photographs.

A shard is a pure function of the textures, the prior, and (seed, number).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from stages.distill.clip_shards import Example, write_clips
from stages.prior.network import MVSplat
from stages.prior.predict import Prediction, carve, predict_in_range
from stages.render import render
from stages.scene import Cameras, Views
from stages.trajectory import interpolate
from stages.video.warp import warp
from stages.worlds import Textures, World, expose, make_world, photograph
from stages.worlds.motion import draw_pair
from stages.worlds.photograph import free
from stages.worlds.shards import shard_generator, shard_path

# (h, w) of shard 0, 1, ..., in turn, as users' videos are: a blur of some pixels is to be learnt at the size at which it is repaired.
SIZES = ((192, 256), (256, 256), (256, 336), (256, 192), (208, 304))
PATH, FRAMES = 49, 9  # of the whole way, and of a clip
STRIDES = (6, 6, 3, 2, 1)  # of a clip's frames on the way, one drawn a clip; 6 is all of it
CLIPS = 8  # of a shard
SHADOWS = 0.3  # share of worlds whose first lamp casts shadows, which takes half as long again
ROOM = 0.15  # metres that the camera keeps from things on its way


def write_shard(folder: Path, textures: Textures, network: MVSplat, seed: int, number: int, clips: int = CLIPS) -> Path:
    """Make shard `number` of the set `seed` and publish it. Returns its path."""
    generator = shard_generator(seed, number)
    size = SIZES[number % len(SIZES)]
    path = shard_path(folder, number)
    write_clips(path, [world_clip(textures, network, generator, size) for _ in range(clips)])
    return path


def world_clip(
    textures: Textures, network: MVSplat, generator: Generator, size: tuple[int, int], path: int = PATH, frames: int = FRAMES
) -> Example:
    """A fresh world filmed on the way from one photograph to the other, or on a part of it, and the prior's render of that.

    size: (h, w).  path: frames of the whole way.  frames: of the clip, 4k + 1.
    """
    world, cameras = draw_path(textures.count, generator, size, path)
    stride = min(STRIDES[int(torch.randint(len(STRIDES), (), generator=generator))], (path - 1) // (frames - 1))
    first = int(torch.randint(path - stride * (frames - 1), (), generator=generator))
    filmed = [0, path - 1, *range(first, first + stride * frames, stride)]
    seen = photograph(world, textures, cameras[filmed], float(torch.rand((), generator=generator)) < SHADOWS)
    assert seen.depth is not None
    images = expose(seen.images, generator)
    views = Views(images[:2], cameras[filmed[:2]])
    prediction = predict_in_range(views, draw_range(seen.depth[:2], generator), network)
    return finish(views, images[2:], cameras[filmed[2:]], carve(prediction, views))


def finish(views: Views, truth: Tensor, cameras: Cameras, prediction: Prediction) -> Example:
    """The clip of two photographs whose truth is known, with the prior's render of it. truth: [F, 3, h, w] at `cameras`."""
    clip = render(prediction.gaussians, cameras, views=views)
    assert clip.coverage is not None
    assert clip.depth is not None
    warped = warp(replace(views, depth=prediction.depth), cameras, clip.depth)
    return Example(clip.frames, clip.coverage, truth, views.images, warped.colours, warped.weight)


def draw_path(texture_count: int, generator: Generator, size: tuple[int, int], frames: int) -> tuple[World, Cameras]:
    """A fresh world and cameras on the way between a pair in it, as users get them (`trajectory.interpolate`), clear of things."""
    while True:
        world = make_world(generator, texture_count)
        pair = draw_pair(world, generator, size)
        if pair is not None:
            cameras = interpolate(pair.c2w[0], pair.c2w[1], pair.K[0], pair.K[1], size, frames)
            if all(free(world, place, ROOM) for place in cameras.c2w[:, :3, 3]):
                return world, cameras


def draw_range(depth: Tensor, generator: Generator) -> Tensor:
    """A range of depth around the true one, as loose as the best of those that `predict` tries, [2, 2]. depth: [2, h, w]."""
    low, high = depth.flatten(1).quantile(torch.tensor([0.02, 0.98]), -1)
    near = low * (0.65 + 0.35 * torch.rand(2, generator=generator))
    far = high * (1 + 1.5 * torch.rand(2, generator=generator))
    return torch.stack([near, far], -1)
