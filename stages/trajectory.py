"""Camera paths: from one input view to the other, or around what the two views saw.

`interpolate` is the path of the released VideoScene, exactly (upstream facts: SPEC section 1.5). `orbit`, `spiral` and `dolly` stay near
the two inputs, because the prior knows nothing about what neither photograph shows. All paths are computed in float64 and returned in the
dtype of the given poses.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from stages.errors import InputError
from stages.geometry import turned_by
from stages.scene import Cameras

# Look vectors whose |cosine| is this close to 1 count as parallel (upstream's value).
PARALLEL_TOLERANCE = 1e-4
# How far `dolly` travels, as a share of the scene depth: near objects, at a third of the median depth, stay in front of the camera.
DOLLY_TRAVEL = 0.2
# Radius of `spiral` as a share of half the baseline, and its bound as a share of the scene depth.
SPIRAL_RADIUS, SPIRAL_BOUND = 0.5, 0.1


def eased_times(frames: int) -> Tensor:
    """Times of a path that starts and stops gently, t' = (1 - cos(pi t)) / 2 for t even in [0, 1]; [frames], float64."""
    if frames < 1:
        raise InputError("bad camera path", f"{frames} frames", "ask for at least 1 frame")
    return (1 - torch.cos(math.pi * torch.linspace(0, 1, frames, dtype=torch.float64))) / 2


def interpolate(a_c2w: Tensor, b_c2w: Tensor, K_a: Tensor, K_b: Tensor, size: tuple[int, int], frames: int = 49) -> Cameras:
    """The released VideoScene's path between two poses (SPEC 1.5): both turn about the point where their view rays nearly meet.

    a_c2w, b_c2w: [4, 4], OpenCV camera-to-world.  K_a, K_b: [3, 3], px.  size: (h, w), px.
    Returns `frames` cameras at eased times; the first is a, the last is b. Intrinsics are interpolated linearly.
    """
    return _between(a_c2w, b_c2w, K_a, K_b, size, eased_times(frames))


def through(knots: Cameras, places: list[int]) -> Cameras:
    """A path that passes given cameras at given frames, each stretch at even speed along the path of `interpolate`.

    places: frame of each of the K knots, from 0, ascending. Returns places[-1] + 1 cameras; those at `places` are the knots exactly.
    """
    if len(places) != len(knots) or places[0] != 0 or any(b <= a for a, b in pairwise(places)):
        raise InputError("bad camera path", f"{len(knots)} cameras at frames {places}", "give one frame a camera, from 0, ascending")
    c2w, K = [knots.c2w[:1]], [knots.K[:1]]
    for index, (start, end) in enumerate(pairwise(places)):
        times = torch.arange(1, end - start, dtype=torch.float64) / (end - start)
        (a, b), (K_a, K_b) = knots.c2w[index : index + 2], knots.K[index : index + 2]
        stretch = _between(a, b, K_a, K_b, knots.size, times)
        c2w += [stretch.c2w, knots.c2w[index + 1 : index + 2]]
        K += [stretch.K, knots.K[index + 1 : index + 2]]
    return Cameras(torch.cat(c2w), torch.cat(K), knots.size)


def _between(a_c2w: Tensor, b_c2w: Tensor, K_a: Tensor, K_b: Tensor, size: tuple[int, int], times: Tensor) -> Cameras:
    dtype = torch.promote_types(a_c2w.dtype, b_c2w.dtype)
    device = a_c2w.device
    a, b, K_a, K_b, times = (x.to(device, torch.float64) for x in (a_c2w, b_c2w, K_a, K_b, times))
    pivot, frame = _pivot_point(a, b), _pivot_frame(a, b)
    offset_a, angles_a = _pivot_coordinates(a, pivot, frame)
    offset_b, angles_b = _pivot_coordinates(b, pivot, frame)
    turn = (angles_b - angles_a + math.pi) % (2 * math.pi) - math.pi  # the shorter way round
    offset = offset_a + times[:, None] * (offset_b - offset_a)
    yaw, roll = (angles_a + times[:, None] * turn).unbind(-1)
    c2w = _from_pivot_coordinates(offset, yaw, roll, pivot, frame)
    K = K_a + times[:, None, None] * (K_b - K_a)
    return Cameras(c2w.to(dtype), K.to(dtype), size)


def _parallel(a: Tensor, b: Tensor) -> bool:
    return bool(((a @ b).abs() - 1).abs() < PARALLEL_TOLERANCE)


def _pivot_point(a: Tensor, b: Tensor) -> Tensor:
    """Point nearest to both view rays (least squares), or the middle of the two centres when the rays are parallel. [3]."""
    looks = torch.stack([a[:3, 2], b[:3, 2]])
    centres = torch.stack([a[:3, 3], b[:3, 3]])
    if _parallel(*looks):
        return centres.mean(0)
    # A point p is off ray (o, n) by (I - n n^T)(p - o); the normal equations of both offsets give p.
    off_ray = torch.eye(3, dtype=looks.dtype, device=looks.device) - looks[:, :, None] * looks[:, None, :]
    right = (off_ray @ centres[:, :, None]).sum(0)
    point: Tensor = torch.linalg.lstsq(off_ray.sum(0), right).solution[:, 0]
    return point


def _pivot_frame(a: Tensor, b: Tensor) -> Tensor:
    """Rotation whose z is a's look vector and whose y is normal to both look vectors. [3, 3], columns x, y, z."""
    z, other = a[:3, 2], b[:3, 2]
    for axis in ([0.0, 0.0, 1.0], [0.0, 1.0, 0.0]):
        if _parallel(z, other):
            other = z.new_tensor(axis)
    y = torch.linalg.cross(z, other)
    y = y / y.norm()
    return torch.stack([torch.linalg.cross(y, z), y, z], -1)


def _turntable(look: Tensor, frame: Tensor) -> Tensor:
    """Columns (y x look, y, look) with the pivot frame's y. look: [..., 3]; returns [..., 3, 3]."""
    y = frame[:, 1].expand_as(look)
    return torch.stack([torch.linalg.cross(y, look), y, look], -1)


def _pivot_coordinates(c2w: Tensor, pivot: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
    """Offset of the pivot from the camera along its turntable axes [3], and (yaw, roll) in the pivot frame [2], radians."""
    offset = _turntable(c2w[:3, 2], frame).T @ (pivot - c2w[:3, 3])
    # Intrinsic Y-X-Z angles; the middle one, pitch, is 0 because y is normal to both look vectors.
    local = frame.T @ c2w[:3, :3]
    yaw = torch.atan2(local[0, 2], local[2, 2])
    roll = torch.atan2(local[1, 0], local[1, 1])
    return offset, torch.stack([yaw, roll])


def _from_pivot_coordinates(offset: Tensor, yaw: Tensor, roll: Tensor, pivot: Tensor, frame: Tensor) -> Tensor:
    """Poses [T, 4, 4] of pivot coordinates: offset [T, 3], yaw and roll [T]."""
    rotation = frame @ _about(1, yaw) @ _about(2, roll)
    centre = pivot - (_turntable(rotation[..., 2], frame) @ offset[..., None])[..., 0]
    return _pose(rotation, centre)


def _about(axis: int, angle: Tensor) -> Tensor:
    """Rotations about coordinate axis 0, 1 or 2. angle: [T], radians; returns [T, 3, 3]."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = torch.eye(3, dtype=angle.dtype, device=angle.device).repeat(len(angle), 1, 1)
    matrix[:, i, i] = matrix[:, j, j] = angle.cos()
    matrix[:, j, i], matrix[:, i, j] = angle.sin(), -angle.sin()
    return matrix


def _pose(rotation: Tensor, centre: Tensor) -> Tensor:
    """[T, 4, 4] from rotations [T, 3, 3] and centres [T, 3]."""
    c2w = torch.eye(4, dtype=rotation.dtype, device=rotation.device).repeat(len(rotation), 1, 1)
    c2w[:, :3, :3], c2w[:, :3, 3] = rotation, centre
    return c2w


def _middle(cameras: Cameras, depth: float) -> tuple[Tensor, Tensor, Tensor]:
    """The pose half way between the two inputs [4, 4], its intrinsics [3, 3] and the baseline vector [3], float64."""
    if len(cameras) != 2:
        raise InputError("bad camera path", f"{len(cameras)} input cameras", "give the cameras of the two photographs")
    if not (math.isfinite(depth) and depth > 0):
        raise InputError("bad camera path", f"scene depth {depth}", "give the distance to the scene, above 0")
    (a, b), (K_a, K_b) = cameras.c2w.double(), cameras.K.double()
    half = torch.full((1,), 0.5, dtype=torch.float64)
    middle = _between(a, b, K_a, K_b, cameras.size, half)
    return middle.c2w[0], middle.K[0], b[:3, 3] - a[:3, 3]


def _path(rotation: Tensor, centre: Tensor, K: Tensor, like: Cameras) -> Cameras:
    c2w = _pose(rotation, centre)
    return Cameras(c2w.to(like.c2w.dtype), K.expand(len(c2w), 3, 3).to(like.K.dtype), like.size)


def orbit(cameras: Cameras, depth: float, frames: int = 49) -> Cameras:
    """Swing about the point `depth` in front of the middle pose: out to the second input's side, across to the first's, and back.

    cameras: the two inputs.  depth: distance to the scene, scene units.  The axis is normal to the view and the baseline, and
    the amplitude is half the angle that the baseline subtends at the pivot, so the path stays between the inputs.
    """
    middle, K, baseline = _middle(cameras, depth)
    pivot = middle[:3, 3] + depth * middle[:3, 2]
    sideways = baseline - (baseline @ middle[:3, 2]) * middle[:3, 2]
    amplitude = math.atan2(float(sideways.norm()) / 2, depth)
    axis = middle[:3, 1]
    if sideways.norm() > 1e-6 * depth:  # otherwise the inputs lie behind one another and any axis serves
        axis = torch.linalg.cross(sideways / sideways.norm(), middle[:3, 2])
    angle = amplitude * torch.sin(2 * math.pi * eased_times(frames)).to(axis.device)
    turn = turned_by(angle[:, None] * axis)
    return _path(turn @ middle[:3, :3], pivot + turn @ (middle[:3, 3] - pivot), K, cameras)


def spiral(cameras: Cameras, depth: float, frames: int = 49) -> Cameras:
    """Two turns of a flat spiral round the middle pose, opening and closing, with the eye on the point at `depth` (after LLFF, 2019).

    cameras: the two inputs.  depth: distance to the scene, scene units.  The radius reaches a quarter of the baseline sideways and
    half of that up and down, at most a tenth of the depth. Starts and ends at the middle pose.
    """
    middle, K, baseline = _middle(cameras, depth)
    radius = min(SPIRAL_RADIUS * float(baseline.norm()) / 2, SPIRAL_BOUND * depth)
    times = eased_times(frames).to(middle.device)
    reach = radius * torch.sin(math.pi * times)
    turns = 4 * math.pi * times
    local = torch.stack([reach * torch.cos(turns), 0.5 * reach * torch.sin(turns), torch.zeros_like(reach)], -1)
    centre = middle[:3, 3] + local @ middle[:3, :3].T
    z = middle[:3, 3] + depth * middle[:3, 2] - centre
    z = z / z.norm(dim=-1, keepdim=True)
    x = torch.linalg.cross(middle[:3, 1].expand_as(z), z)
    x = x / x.norm(dim=-1, keepdim=True)
    return _path(torch.stack([x, torch.linalg.cross(z, x), z], -1), centre, K, cameras)


def dolly(cameras: Cameras, depth: float, frames: int = 49) -> Cameras:
    """Straight ahead from the middle pose by a fifth of the scene depth, without turning.

    cameras: the two inputs.  depth: distance to the scene, scene units.  Forward only: moving back would show what neither saw.
    """
    middle, K, _ = _middle(cameras, depth)
    travel = DOLLY_TRAVEL * depth * eased_times(frames).to(middle.device)
    centre = middle[:3, 3] + travel[:, None] * middle[:3, 2]
    return _path(middle[:3, :3].expand(frames, 3, 3), centre, K, cameras)
