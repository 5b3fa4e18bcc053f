"""Where cameras stand in a world: pairs with the motion of house tours, and views on the way between them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from stages.geometry import project, unproject
from stages.scene import Cameras
from stages.worlds.layouts import World
from stages.worlds.photograph import depth_map, free

SKETCH = (18, 24)  # (h, w) of the depth sketches that overlap is judged on


def look(origin: Tensor, forward: Tensor, roll: float) -> Tensor:
    """Camera-to-world [4, 4] (OpenCV) at `origin` [3], looking along `forward` [3], world z up, rolled by `roll` radians."""
    z = F.normalize(forward, dim=0)
    x = F.normalize(torch.linalg.cross(z, torch.tensor([0.0, 0.0, 1.0])), dim=0)
    y = torch.linalg.cross(z, x)
    c, s = torch.cos(torch.tensor(roll)), torch.sin(torch.tensor(roll))
    pose = torch.eye(4)
    pose[:3, :3] = torch.stack([c * x + s * y, c * y - s * x, z], -1)
    pose[:3, 3] = origin
    return pose


def between(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Pose at t of the straight, constant-turn motion from a (t = 0) to b (t = 1); beyond for t outside [0, 1]. [4, 4]."""
    relative = a[:3, :3].T @ b[:3, :3]
    cosine = ((relative.trace() - 1) / 2).clamp(-1 + 1e-7, 1 - 1e-7)
    angle = torch.acos(cosine)
    axis = (relative - relative.T) / (2 * torch.sin(angle)).clamp_min(1e-7)
    pose = torch.eye(4, dtype=a.dtype)
    pose[:3, :3] = a[:3, :3] @ torch.linalg.matrix_exp(axis * angle * t)
    pose[:3, 3] = a[:3, 3] * (1 - t) + b[:3, 3] * t
    return pose


def intrinsics(field_of_view: float, size: tuple[int, int]) -> Tensor:
    """Pinhole K [3, 3] for a field of view in radians across the longer side, principal point at the centre."""
    focal = max(size) / 2 / float(torch.tan(torch.tensor(field_of_view / 2)))
    return torch.tensor([[focal, 0, size[1] / 2], [0, focal, size[0] / 2], [0, 0, 1.0]])


def overlap(depth: Tensor, cameras: Cameras) -> float:
    """Share of the first camera's pixels that the second one sees, from exact depth sketches [2, h, w]; occlusion counts."""
    h, w = cameras.size
    points = unproject(depth[0], cameras.K[0], cameras.c2w[0]).reshape(-1, 3)
    pixels, z = project(points, cameras.K[1], cameras.c2w[1])
    x, y = pixels.unbind(-1)
    inside = (z > 0) & (x >= 0) & (x < w) & (y >= 0) & (y < h)
    there = depth[1][y.clamp(0, h - 1).long(), x.clamp(0, w - 1).long()]
    return float((inside & (z < there * 1.08 + 1e-3)).float().mean())


def draw_pair(world: World, generator: Generator, size: tuple[int, int], tries: int = 60) -> Cameras | None:
    """Two cameras with 35 to 97 % overlap and a baseline of 4 to 50 % of the median depth; None if the world is too full.

    Field of view 40 to 80 degrees across the longer side; sideways, forward and mixed motion; look-at with 10 degrees of jitter.
    """
    uniform = lambda low, high: low + (high - low) * float(torch.rand((), generator=generator))  # noqa: E731
    half = world.shell.half[0]
    outdoors = float(half[0]) > 10
    field = uniform(0.7, 1.4)
    sketch = intrinsics(field, SKETCH if size[1] >= size[0] else SKETCH[::-1])
    sketch_size = SKETCH if size[1] >= size[0] else (SKETCH[1], SKETCH[0])
    for _ in range(tries):
        position = (torch.rand(3, generator=generator) * 2 - 1) * half * 0.85
        position[2] = uniform(0.8, 2.0) if outdoors else uniform(0.5, min(1.9, 1.7 * float(half[2])))
        if not free(world, position, 0.25):
            continue
        target = (torch.rand(3, generator=generator) * 2 - 1) * half * 0.7
        target[2] = position[2] + uniform(-0.35, 0.15) * float((target - position)[:2].norm())
        first = look(position, target - position, uniform(-0.05, 0.05))
        depth_a = depth_map(world, Cameras(first[None], sketch[None], sketch_size))[0]
        median = float(depth_a.median())
        if float(depth_a.quantile(0.03)) < 0.35 or median > 30:
            continue
        forward, right, up = first[:3, 2], first[:3, 0], -first[:3, 1]
        along = uniform(-1, 1) * (2.0 if uniform(0, 1) < 0.35 else 0.5)
        step = right * uniform(-1, 1) * 1.2 + forward * along + up * uniform(-0.25, 0.25)
        baseline = median * uniform(0.04, 0.5) if uniform(0, 1) < 0.8 else median * uniform(0.3, 0.7)
        moved = position + F.normalize(step, dim=0) * baseline
        if not free(world, moved, 0.2):
            continue
        focus = position + forward * median * uniform(0.6, 1.8)
        jitter = torch.randn(3, generator=generator) * 0.09
        second = look(moved, F.normalize(focus - moved, dim=0) + jitter, uniform(-0.05, 0.05))
        pair = Cameras(torch.stack([first, second]), sketch.expand(2, 3, 3), sketch_size)
        depth = torch.stack([depth_a, depth_map(world, pair[[1]])[0]])
        if float(depth[1].quantile(0.03)) < 0.3 or not 0.35 < overlap(depth, pair) < 0.97:
            continue
        return Cameras(pair.c2w, intrinsics(field, size).expand(2, 3, 3), size)
    return None
