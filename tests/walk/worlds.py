"""Places with something between two cameras, as the Gaussians that a prior without errors would predict.

The rooms are 4 m wide, 3 m high and 7 m long. Both cameras look along y, the second from ahead of the first.
"""

import torch
from torch import Tensor

from stages.geometry import unproject
from stages.scene import Cameras, Gaussians
from stages.worlds.layouts import World
from stages.worlds.photograph import depth_map
from stages.worlds.primitives import BOX, Primitives

SIZE = (96, 128)
Box = tuple[tuple[float, float, float], tuple[float, float, float]]
"""(centre, half sizes), metres, z up."""

SOFA: list[Box] = [((0, 0, 0.35), (0.9, 0.4, 0.35))]
PILLAR: list[Box] = [((0.1, 0, 1.5), (0.12, 0.12, 1.5))]
# Between two rooms: a wall with a doorway, 0.9 m wide and 2 m high, and the door that closes it.
WALL: list[Box] = [((-1.225, 0, 1.5), (0.775, 0.05, 1.5)), ((1.225, 0, 1.5), (0.775, 0.05, 1.5))]
WALL += [((0, 0, 2.5), (0.45, 0.05, 0.5))]
DOOR: list[Box] = [((0, 0, 1), (0.45, 0.03, 1))]


def looking_along_y(*positions: tuple[float, float, float]) -> Cameras:
    """Cameras that look along y with z up, at these positions."""
    c2w = torch.eye(4, dtype=torch.float64).repeat(len(positions), 1, 1)
    c2w[:, :3, :3] = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    c2w[:, :3, 3] = torch.tensor(positions)
    h, w = SIZE
    K = torch.tensor([[0.8 * w, 0, w / 2], [0, 0.8 * w, h / 2], [0, 0, 1]], dtype=torch.float64)
    return Cameras(c2w, K.expand(len(positions), 3, 3), SIZE)


def photographed(boxes: list[Box], cameras: Cameras) -> tuple[Gaussians, Tensor]:
    """The Gaussians of two photographs of a room with these boxes in it, and their depth, [2, h, w]."""
    shell = _boxes([((0, 0.5, 1.5), (2, 3.5, 1.5))])
    world = World(shell, [_boxes(boxes)] if boxes else [], torch.zeros(0, 3), torch.zeros(0), ambient=1.0)
    depth = depth_map(world, cameras)
    means = unproject(depth, cameras.K.float(), cameras.c2w.float()).reshape(-1, 3)
    g = len(means)
    return Gaussians(
        means,
        (0.5 * depth.reshape(-1, 1) / float(cameras.K[0, 0, 0])).expand(g, 3),
        torch.tensor([1.0, 0, 0, 0]).expand(g, 4),
        torch.full((g,), 0.9),
        torch.zeros(g, 1, 3),
        torch.arange(2, dtype=torch.uint8).repeat_interleave(g // 2),
    ), depth


def _boxes(boxes: list[Box]) -> Primitives:
    centre, half = (torch.tensor(values) * 1.0 for values in zip(*boxes, strict=True))
    n = len(boxes)
    rotation, texture = torch.eye(3).repeat(n, 1, 1), torch.zeros(n, 6)
    return Primitives(BOX, rotation, centre, half, texture, torch.ones(n), torch.ones(n, 3))
