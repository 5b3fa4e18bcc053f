"""Training clips of procedural worlds: photographs and truth are ray-cast, the render is what the prior makes of the photographs.

A shard is a pure function of the textures, the prior, and (seed, number).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Generator, Tensor

from stages.distill.data import Example, shard_path, write_clips
from stages.prior.network import MVSplat
from stages.prior.predict import predict
from stages.render import render
from stages.scene import Cameras, Views
from stages.trajectory import interpolate
from stages.worlds import Textures, World, expose, make_world, photograph
from stages.worlds.motion import draw_pair
from stages.worlds.photograph import free

# (h, w) and frames of shard 0, 1, ..., in turn: landscape, square and portrait. The 11 frames of a two-view case are extended to 13.
KINDS = (((128, 192), 13), ((144, 208), 17), ((160, 160), 13), ((128, 224), 13), ((192, 128), 13), ((144, 208), 13), ((192, 256), 13))
CLIPS = 8  # of a shard
SHADOWS = 0.3  # share of worlds whose first lamp casts shadows, which takes half as long again
ROOM = 0.15  # metres that the camera keeps from things on its way


def write_shard(folder: Path, textures: Textures, network: MVSplat, seed: int, number: int, clips: int = CLIPS) -> Path:
    """Make shard `number` of the set `seed` and publish it. Returns its path."""
    generator = Generator().manual_seed(seed * 1_000_003 + number)
    size, frames = KINDS[number % len(KINDS)]
    path = shard_path(folder, number)
    write_clips(path, [world_clip(textures, network, generator, size, frames) for _ in range(clips)])
    return path


def world_clip(textures: Textures, network: MVSplat, generator: Generator, size: tuple[int, int], frames: int) -> Example:
    """A fresh world filmed on the way from one photograph to the other, and the prior's render of that way.

    size: (h, w).  frames: 4k + 1.
    """
    world, cameras = draw_path(textures.count, generator, size, frames)
    seen = photograph(world, textures, cameras, float(torch.rand((), generator=generator)) < SHADOWS)
    assert seen.depth is not None
    images = expose(torch.cat([seen.images[[0, -1]], seen.images]), generator)
    views = Views(images[:2], cameras[[0, -1]])
    return finish(views, images[2:], cameras, draw_range(seen.depth[[0, -1]], generator), network)


def finish(views: Views, truth: Tensor, cameras: Cameras, near_far: Tensor, network: MVSplat) -> Example:
    """The clip of two photographs whose truth is known, with the prior's render of it.

    truth: [F, 3, h, w] at `cameras`.  near_far: [2, 2], see `stages.prior.predict.predict`.
    """
    clip = render(predict(views, near_far, network).gaussians, cameras)
    assert clip.coverage is not None
    return Example(clip.frames, clip.coverage, truth, views.images)


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
    """A range of depth around the true one, as loose as estimates are, [2, 2]. depth: [2, h, w]."""
    low, high = depth.flatten(1).quantile(torch.tensor([0.02, 0.98]), -1)
    near = low * (0.5 + 0.45 * torch.rand(2, generator=generator))
    far = high * (1.2 + 2.8 * torch.rand(2, generator=generator))
    return torch.stack([near, far], -1)
