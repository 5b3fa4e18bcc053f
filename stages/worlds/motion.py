"""The cameras of a world: pairs with the motion of house tours, and poses between them."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from stages.geometry import reproject
from stages.scene import Cameras
from stages.worlds.layouts import World
from stages.worlds.photograph import depth_map, free

SKETCH = (18, 24)  # (h, w) of the small depth maps from which overlap is computed


def look_along(origin: Tensor, forward: Tensor, roll: float) -> Tensor:
    """Camera-to-world [4, 4] (OpenCV) at `origin` [3], facing `forward` [3], world z up, rolled by `roll` radians."""
    z = F.normalize(forward, dim=0)
    x = F.normalize(torch.linalg.cross(z, torch.tensor([0.0, 0.0, 1.0])), dim=0)
    y = torch.linalg.cross(z, x)
    c, s = torch.cos(torch.tensor(roll)), torch.sin(torch.tensor(roll))
    pose = torch.eye(4)
    pose[:3, :3] = torch.stack([c * x + s * y, c * y - s * x, z], -1)
    pose[:3, 3] = origin
    return pose


def between(a: Tensor, b: Tensor, t: float) -> Tensor:
    """The pose [4, 4] at t on the way from a (t = 0) to b (t = 1): along a line, turning evenly.

    t may be outside [0, 1].
    """
    relative = a[:3, :3].T @ b[:3, :3]
    cosine = ((relative.trace() - 1) / 2).clamp(-1 + 1e-7, 1 - 1e-7)
    angle = torch.acos(cosine)
    axis = (relative - relative.T) / (2 * torch.sin(angle)).clamp_min(1e-7)
    pose = torch.eye(4, dtype=a.dtype)
    pose[:3, :3] = a[:3, :3] @ torch.linalg.matrix_exp(axis * angle * t)
    pose[:3, 3] = a[:3, 3] * (1 - t) + b[:3, 3] * t
    return pose


def intrinsics(field_of_view: float, size: tuple[int, int]) -> Tensor:
    """Pinhole intrinsics [3, 3] with the principal point at the centre. field_of_view: of the longer side, radians."""
    focal = max(size) / 2 / float(torch.tan(torch.tensor(field_of_view / 2)))
    return torch.tensor([[focal, 0, size[1] / 2], [0, focal, size[0] / 2], [0, 0, 1.0]])


def overlap(depth: Tensor, cameras: Cameras) -> float:
    """The share of the first camera's pixels that the second one sees, with occlusion. depth: [2, h, w], exact."""
    h, w = cameras.size
    pixels, z = reproject(depth[0], cameras.K[0], cameras.c2w[0], cameras.K[1], cameras.c2w[1])
    x, y = pixels.unbind(-1)
    inside = (z > 0) & (x >= 0) & (x < w) & (y >= 0) & (y < h)
    surface_depth = depth[1][y.clamp(0, h - 1).long(), x.clamp(0, w - 1).long()]
    return float((inside & (z < surface_depth * 1.08 + 1e-3)).float().mean())


def sample_pair(world: World, generator: Generator, size: tuple[int, int], tries: int = 60) -> Cameras | None:
    """Two cameras with 35 to 97 % overlap, 4 to 70 % of the median depth apart. None if the world is too full.

    The field of view is 40 to 80 degrees across the longer side. The motion is sideways, forward or mixed. Both cameras
    look at one point, the second with about 5 degrees of jitter per axis.
    """
    uniform = lambda low, high: low + (high - low) * float(torch.rand((), generator=generator))  # noqa: E731
    half = world.shell.half[0]
    outdoors = float(half[0]) > 10
    field = uniform(0.7, 1.4)
    sketch = intrinsics(field, SKETCH if size[1] >= size[0] else SKETCH[::-1])
    sketch_size = SKETCH if size[1] >= size[0] else (SKETCH[1], SKETCH[0])
    # Place the first camera: clear of all surfaces, and not right in front of one.
    for _ in range(tries):
        position = (torch.rand(3, generator=generator) * 2 - 1) * half * 0.85
        position[2] = uniform(0.8, 2.0) if outdoors else uniform(0.5, min(1.9, 1.7 * float(half[2])))
        if not free(world, position, 0.25):
            continue
        target = (torch.rand(3, generator=generator) * 2 - 1) * half * 0.7
        target[2] = position[2] + uniform(-0.35, 0.15) * float((target - position)[:2].norm())
        first = look_along(position, target - position, uniform(-0.05, 0.05))
        depth_a = depth_map(world, Cameras(first[None], sketch[None], sketch_size))[0]
        median = float(depth_a.median())
        if float(depth_a.quantile(0.03)) < 0.35 or median > 30:
            continue
        # Move it by a share of the median depth, and aim the second camera at a point that the first one sees.
        forward, right, up = first[:3, 2], first[:3, 0], -first[:3, 1]
        along = uniform(-1, 1) * (2.0 if uniform(0, 1) < 0.35 else 0.5)
        motion = right * uniform(-1, 1) * 1.2 + forward * along + up * uniform(-0.25, 0.25)
        baseline = median * uniform(0.04, 0.5) if uniform(0, 1) < 0.8 else median * uniform(0.3, 0.7)
        second_position = position + F.normalize(motion, dim=0) * baseline
        if not free(world, second_position, 0.2):
            continue
        focus = position + forward * median * uniform(0.6, 1.8)
        jitter = torch.randn(3, generator=generator) * 0.09
        second = look_along(second_position, F.normalize(focus - second_position, dim=0) + jitter, uniform(-0.05, 0.05))
        # Keep the pair if both cameras see about the same.
        pair = Cameras(torch.stack([first, second]), sketch.expand(2, 3, 3), sketch_size)
        depth = torch.stack([depth_a, depth_map(world, pair[[1]])[0]])
        if float(depth[1].quantile(0.03)) < 0.3 or not 0.35 < overlap(depth, pair) < 0.97:
            continue
        return Cameras(pair.c2w, intrinsics(field, size).expand(2, 3, 3), size)
    return None
