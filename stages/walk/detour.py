"""Bends a path around what is in its way.

The straight way between two photographs may lead through a sofa, a wall or a closed door. `walk` measures the clearance
of the path, and where it is too small, pushes the cameras across the path, such as to the right or up, as little as is
enough. The push is 0 at both ends and grows smoothly. Cameras keep their times and the directions in which they look.

Where the cameras are pushed by more than half of the largest push, they must lie within what a photograph covers. What
is outside of both pictures may be a wall too.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.geometry import project
from stages.scene import Cameras, Gaussians
from stages.walk.clearance import Surfaces, surfaces_near, way

NEEDED = 0.06  # clearance that a camera needs, as a share of the scene's depth
# A photograph may have been taken closer to something. A path needs no more than this share of the clearance at the
# photographs, of which the smaller one counts.
SHARE_OF_PHOTOGRAPHS = 0.5
BENDS = (0.06, 0.1, 0.15, 0.2, 0.3, 0.4)  # sizes of bends to try, as shares of the scene's depth
STEEPEST = 1.0  # a bend moves sideways by at most this for each unit of length along the path
# A camera's axis gives a direction across the path if its part at right angles to the path is longer than this share of
# the axis.
ACROSS = 0.5


@dataclass(frozen=True, eq=False)
class Walk:
    """A camera path, and how freely it runs. Lengths are shares of the scene's depth.

    cameras: the T cameras of the path.  clearance: [T], the smallest clearance at each camera and on the way from it to
    the next.  needed: the clearance that every camera needs.
    depth: the scene's depth, scene units.
    blocked: the cameras whose clearance was too small on the path that was asked for, ascending.
    obstacle: the photograph that shows what was in the way, and where, as shares of its width and height; None if
    nothing was in the way or it is unknown.
    bend: how far the cameras were pushed aside at most, 0 if the path is as asked.  direction: where to, in words.
    """

    cameras: Cameras
    clearance: Tensor
    needed: float
    depth: float
    blocked: list[int]
    obstacle: tuple[int, float, float] | None = None
    bend: float = 0.0
    direction: str = ""


@torch.no_grad()
def walk(path: Cameras, gaussians: Gaussians, photographs: Cameras, bend: bool) -> Walk:
    """Measure the clearance of a path, and bend it where it is too small.

    photographs: the cameras of the two.  bend: whether to bend; without it the path is only measured.
    The path stays as it is, to the last bit, where nothing is in the way or no bend helps.
    """
    surfaces = surfaces_near(path, gaussians, photographs)
    own = surfaces.clearance(photographs.c2w[:, :3, 3])
    needed = min(NEEDED, SHARE_OF_PHOTOGRAPHS * float(own.min()))
    stops = way(path, needed * surfaces.depth)
    clearance = surfaces.clearance(stops)
    blocked = (clearance < needed).any(1).nonzero()[:, 0].tolist()
    asked = Walk(path, clearance.amin(1), needed, surfaces.depth, blocked)
    if not blocked:
        return asked
    worst = stops.flatten(0, 1)[clearance.argmin()]
    asked = replace(asked, obstacle=_obstacle(worst, surfaces, photographs, needed))
    if bend:
        around = surfaces_near(path, gaussians, photographs, BENDS[-1])
        for size, direction, cameras in _bends(path, photographs, around.depth, blocked):
            clearance = around.clearance(way(cameras, needed * around.depth)).amin(1)
            if bool((clearance >= needed).all()):
                return replace(asked, cameras=cameras, clearance=clearance, bend=size, direction=direction)
    return asked


def _bends(
    path: Cameras, photographs: Cameras, depth: float, blocked: list[int]
) -> Iterator[tuple[float, str, Cameras]]:
    """Bent paths, the smallest first: (size, direction in words, cameras). depth: of the scene, scene units."""
    centres = path.c2w[:, :3, 3].double()
    chord = centres[-1] - centres[0]
    # The length of the path up to each camera.
    length = torch.cat([centres[:1], centres]).diff(dim=0).norm(dim=1).cumsum(0)
    before = float(length[blocked[0]])
    after = float(length[-1] - length[min(blocked[-1] + 1, len(path) - 1)])
    for size in BENDS:
        steepest = 1.5 * size * depth  # steepest slope of the bump, times the length over which it grows
        if not float(chord.norm()) > 0 or steepest > STEEPEST * min(before, after):
            return
        bump = _smooth(length / before) * _smooth((length[-1] - length) / after)
        for name, direction in _directions(chord, path.c2w[blocked[0]]):
            moved = centres + (size * depth * bump)[:, None] * direction
            if bool(_shown(moved[bump > 0.5], photographs).all()):
                c2w = path.c2w.clone()
                c2w[:, :3, 3] = moved.to(c2w)
                yield size, name, replace(path, c2w=c2w)


def _smooth(x: Tensor) -> Tensor:
    """A smooth step from 0 at x = 0 to 1 at x = 1, with a slope of at most 1.5."""
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)


def _directions(chord: Tensor, camera: Tensor) -> list[tuple[str, Tensor]]:
    """Directions across a path, [3] each, with their names as a camera on it sees them.

    chord: [3], from the path's start to its end.  camera: [4, 4], camera-to-world.
    """
    ahead = F.normalize(chord, dim=0)
    found = []
    x, y, z = camera[:3, :3].to(ahead).unbind(1)
    for name, direction in (("right", x), ("left", -x), ("up", -y), ("back", -z), ("forward", z), ("down", y)):
        across = direction - (direction @ ahead) * ahead
        if float(across.norm()) > ACROSS:
            found.append((name, F.normalize(across, dim=0)))
    return found


def _shown(points: Tensor, photographs: Cameras) -> Tensor:
    """Whether each of the points [P, 3] lies within the picture of a photograph, [P]."""
    h, w = photographs.size
    shown = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    for K, c2w in zip(photographs.K.to(points), photographs.c2w.to(points), strict=True):
        pixels, z = project(points, K, c2w)
        shown |= (z > 0) & (pixels > 0).all(1) & (pixels < pixels.new_tensor([w, h])).all(1)
    return shown


def _obstacle(
    position: Tensor, surfaces: Surfaces, photographs: Cameras, reach: float
) -> tuple[int, float, float] | None:
    """What is within `reach` of a position: the photograph that shows most of it, and where: see `Walk`."""
    found = surfaces.nearest(position, reach)
    if found is None:
        return None
    photograph, point = found
    K, c2w = photographs.K[photograph].to(point), photographs.c2w[photograph].to(point)
    x, y = project(point[None], K, c2w)[0][0].tolist()
    h, w = photographs.size
    return photograph, x / w, y / h
