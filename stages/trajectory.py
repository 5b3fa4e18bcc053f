"""Camera paths: from one input view to the other, or around what the two views saw.

`interpolate` is the path of the released VideoScene (noposplat/src/visualization/camera_trajectory/interpolation.py,
`interpolate_extrinsics`). `orbit`, `spiral` and `dolly` stay near the two input cameras, because the prior knows
nothing about what neither photograph shows. Paths are computed in float64 and returned in the dtype of the given poses.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor

from stages.errors import InputError
from stages.geometry import crop_intrinsics, depth_of, turned_by
from stages.scene import Cameras

# View directions are parallel if the |cosine| of their angle differs from 1 by less than this (`eps` in the release).
PARALLEL_TOLERANCE = 1e-4
# Distance that `dolly` travels, as a share of the scene depth. It does not reach near objects, which lie at about a
# third of the scene depth.
DOLLY_TRAVEL = 0.2
SPIRAL_RADIUS = 0.5  # radius of `spiral`, as a share of half the baseline
SPIRAL_BOUND = 0.1  # largest radius of `spiral`, as a share of the scene depth


def along(path: str | Cameras, inputs: Cameras, means: Tensor, frames: int = 49) -> Cameras:
    """The cameras of a path, with the image size of the two input cameras.

    path: "interp", "orbit", "spiral" or "dolly", with `frames` cameras, or given cameras. stages/walk may bend "interp"
    afterwards, and `--path straight` is this path unbent. The image plane of given cameras is scaled to cover the size
    of the inputs and cropped at the centre, as photographs are.
    means: [G, 3], centres of the scene's Gaussians, scene units: orbit, spiral and dolly need the depth of the scene.
    Raises InputError when they need it and no Gaussian is in front of the first camera.
    """
    if isinstance(path, Cameras):
        (h, w), (old_h, old_w) = inputs.size, path.size
        scale = max(h / old_h, w / old_w)
        K = path.K * path.K.new_tensor([[scale], [scale], [1.0]])
        return Cameras(path.c2w, crop_intrinsics(K, (old_w * scale - w) / 2, (old_h * scale - h) / 2), inputs.size)
    (a, b), (K_a, K_b) = inputs.c2w, inputs.K
    if path == "interp":
        return interpolate(a, b, K_a, K_b, inputs.size, frames)
    z = depth_of(means, a.to(means))
    if not bool((z > 0).any()):
        why = "no Gaussian is in front of the first camera"
        raise InputError("no camera path", why, "make the prior of the scene again")
    depth = float(z[z > 0].median())
    return {"orbit": orbit, "spiral": spiral, "dolly": dolly}[path](inputs, depth, frames)


def eased_times(frames: int) -> Tensor:
    """Times from 0 to 1, [frames], float64, that start and stop gently: (1 - cos(pi t)) / 2 with evenly spaced t."""
    if frames < 1:
        raise InputError("bad camera path", f"{frames} frames", "ask for at least 1 frame")
    return (1 - torch.cos(math.pi * torch.linspace(0, 1, frames, dtype=torch.float64))) / 2


def interpolate(
    a_c2w: Tensor, b_c2w: Tensor, K_a: Tensor, K_b: Tensor, size: tuple[int, int], frames: int = 49
) -> Cameras:
    """The released VideoScene's path between two poses, a turn about the point where their view rays nearly meet.

    a_c2w, b_c2w: [4, 4], OpenCV camera-to-world.  K_a, K_b: [3, 3], px.  size: (h, w), px.
    Returns `frames` cameras at eased times. The first is a, the last is b. Intrinsics are interpolated linearly.
    """
    return _between(a_c2w, b_c2w, K_a, K_b, size, eased_times(frames))


def through(knots: Cameras, frames: list[int]) -> Cameras:
    """A path that passes given cameras at given frames. Between them it follows `interpolate`'s path at even speed.

    knots: the given cameras.  frames: the frame at which the path passes each of them, ascending from 0.
    Returns frames[-1] + 1 cameras. Those at `frames` are the knots exactly.
    """
    if len(frames) != len(knots) or frames[0] != 0 or any(b <= a for a, b in pairwise(frames)):
        why = f"{len(knots)} cameras at frames {frames}"
        raise InputError("bad camera path", why, "give one frame number per camera, ascending from 0")
    c2w, K = [knots.c2w[:1]], [knots.K[:1]]
    for index, (start, end) in enumerate(pairwise(frames)):
        times = torch.arange(1, end - start, dtype=torch.float64) / (end - start)
        (a, b), (K_a, K_b) = knots.c2w[index : index + 2], knots.K[index : index + 2]
        stretch = _between(a, b, K_a, K_b, knots.size, times)
        c2w += [stretch.c2w, knots.c2w[index + 1 : index + 2]]
        K += [stretch.K, knots.K[index + 1 : index + 2]]
    return Cameras(torch.cat(c2w), torch.cat(K), knots.size)


def _between(a_c2w: Tensor, b_c2w: Tensor, K_a: Tensor, K_b: Tensor, size: tuple[int, int], times: Tensor) -> Cameras:
    """The cameras of `interpolate`'s path at the given times, [T] in [0, 1]."""
    dtype = torch.promote_types(a_c2w.dtype, b_c2w.dtype)
    device = a_c2w.device
    a, b, K_a, K_b, times = (x.to(device, torch.float64) for x in (a_c2w, b_c2w, K_a, K_b, times))
    # Both poses in coordinates about the pivot.
    pivot, axes = _pivot_point(a, b), _pivot_axes(a, b)
    offset_a, angles_a = _pivot_coordinates(a, pivot, axes)
    offset_b, angles_b = _pivot_coordinates(b, pivot, axes)
    # Linear interpolation of these coordinates.
    turn = (angles_b - angles_a + math.pi) % (2 * math.pi) - math.pi  # the shorter way round
    offset = offset_a + times[:, None] * (offset_b - offset_a)
    yaw, roll = (angles_a + times[:, None] * turn).unbind(-1)
    c2w = _from_pivot_coordinates(offset, yaw, roll, pivot, axes)
    K = K_a + times[:, None, None] * (K_b - K_a)
    return Cameras(c2w.to(dtype), K.to(dtype), size)


def _parallel(a: Tensor, b: Tensor) -> bool:
    return bool(((a @ b).abs() - 1).abs() < PARALLEL_TOLERANCE)


def _pivot_point(a: Tensor, b: Tensor) -> Tensor:
    """The point [3] nearest to both view rays (least squares); for parallel rays, midway between the cameras."""
    looks = torch.stack([a[:3, 2], b[:3, 2]])
    centres = torch.stack([a[:3, 3], b[:3, 3]])
    if _parallel(*looks):
        return centres.mean(0)
    # The offset of a point p from the ray o + s n is (I - n n^T)(p - o). The normal equations of both offsets give p.
    off_ray = torch.eye(3, dtype=looks.dtype, device=looks.device) - looks[:, :, None] * looks[:, None, :]
    right = (off_ray @ centres[:, :, None]).sum(0)
    point: Tensor = torch.linalg.lstsq(off_ray.sum(0), right).solution[:, 0]
    return point


def _pivot_axes(a: Tensor, b: Tensor) -> Tensor:
    """Columns x, y, z, [3, 3]: z is a's view direction, y is normal to both view directions."""
    z, other = a[:3, 2], b[:3, 2]
    # Parallel view directions have no common normal. Then a world axis that is not parallel to z takes b's place.
    for axis in ([0.0, 0.0, 1.0], [0.0, 1.0, 0.0]):
        if _parallel(z, other):
            other = z.new_tensor(axis)
    y = torch.linalg.cross(z, other)
    y = y / y.norm()
    return torch.stack([torch.linalg.cross(y, z), y, z], -1)


def _turntable(look: Tensor, axes: Tensor) -> Tensor:
    """Axes of cameras that turn about y, the second pivot axis: columns (y x look, y, look), [..., 3, 3].

    look: view directions, [..., 3].
    """
    y = axes[:, 1].expand_as(look)
    return torch.stack([torch.linalg.cross(y, look), y, look], -1)


def _pivot_coordinates(c2w: Tensor, pivot: Tensor, axes: Tensor) -> tuple[Tensor, Tensor]:
    """Where a camera stands relative to the pivot: an offset [3], and two angles [2] in radians.

    The offset leads from the camera to the pivot, in the camera's turntable axes. The angles are the camera's yaw and
    roll in the pivot axes.
    """
    offset = _turntable(c2w[:3, 2], axes).T @ (pivot - c2w[:3, 3])
    # Intrinsic Y-X-Z angles. The middle one, pitch, is 0 because y is normal to both view directions.
    local = axes.T @ c2w[:3, :3]
    yaw = torch.atan2(local[0, 2], local[2, 2])
    roll = torch.atan2(local[1, 0], local[1, 1])
    return offset, torch.stack([yaw, roll])


def _from_pivot_coordinates(offset: Tensor, yaw: Tensor, roll: Tensor, pivot: Tensor, axes: Tensor) -> Tensor:
    """The inverse of `_pivot_coordinates`: offset [T, 3], yaw and roll [T] -> poses [T, 4, 4]."""
    rotation = axes @ _about(1, yaw) @ _about(2, roll)
    centre = pivot - (_turntable(rotation[..., 2], axes) @ offset[..., None])[..., 0]
    return _pose(rotation, centre)


def _about(axis: int, angle: Tensor) -> Tensor:
    """Rotations about coordinate axis 0, 1 or 2. angle: [T], radians.  Returns [T, 3, 3]."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = torch.eye(3, dtype=angle.dtype, device=angle.device).repeat(len(angle), 1, 1)
    matrix[:, i, i] = matrix[:, j, j] = angle.cos()
    matrix[:, j, i], matrix[:, i, j] = angle.sin(), -angle.sin()
    return matrix


def _pose(rotation: Tensor, centre: Tensor) -> Tensor:
    """Camera-to-world matrices [T, 4, 4] from rotations [T, 3, 3] and camera centres [T, 3]."""
    c2w = torch.eye(4, dtype=rotation.dtype, device=rotation.device).repeat(len(rotation), 1, 1)
    c2w[:, :3, :3], c2w[:, :3, 3] = rotation, centre
    return c2w


def _middle(cameras: Cameras, depth: float) -> tuple[Tensor, Tensor, Tensor]:
    """The pose halfway between the two inputs [4, 4], its K [3, 3] and the baseline vector [3], float64."""
    if len(cameras) != 2:
        raise InputError("bad camera path", f"{len(cameras)} input cameras", "give the cameras of the two photographs")
    if not (math.isfinite(depth) and depth > 0):
        raise InputError("bad camera path", f"scene depth {depth}", "give the distance to the scene, above 0")
    (a, b), (K_a, K_b) = cameras.c2w.double(), cameras.K.double()
    half = torch.full((1,), 0.5, dtype=torch.float64)
    middle = _between(a, b, K_a, K_b, cameras.size, half)
    return middle.c2w[0], middle.K[0], b[:3, 3] - a[:3, 3]


def _path(rotation: Tensor, centre: Tensor, K: Tensor, like: Cameras) -> Cameras:
    """Cameras with rotations [T, 3, 3], centres [T, 3] and one K [3, 3]; dtype and image size are those of `like`."""
    c2w = _pose(rotation, centre)
    return Cameras(c2w.to(like.c2w.dtype), K.expand(len(c2w), 3, 3).to(like.K.dtype), like.size)


def orbit(cameras: Cameras, depth: float, frames: int = 49) -> Cameras:
    """A swing about a pivot in front of the middle pose: out towards the second input, across to the first, and back.

    cameras: the two inputs.  depth: distance from the middle pose to the pivot, scene units.
    The axis is normal to the view direction and to the baseline. The amplitude is half the angle that the baseline
    subtends at the pivot, so the path stays between the inputs.
    """
    middle, K, baseline = _middle(cameras, depth)
    pivot = middle[:3, 3] + depth * middle[:3, 2]
    sideways = baseline - (baseline @ middle[:3, 2]) * middle[:3, 2]
    amplitude = math.atan2(float(sideways.norm()) / 2, depth)
    axis = middle[:3, 1]
    if sideways.norm() > 1e-6 * depth:  # otherwise one input lies behind the other and any axis serves
        axis = torch.linalg.cross(sideways / sideways.norm(), middle[:3, 2])
    angle = amplitude * torch.sin(2 * math.pi * eased_times(frames)).to(axis.device)
    turn = turned_by(angle[:, None] * axis)
    return _path(turn @ middle[:3, :3], pivot + turn @ (middle[:3, 3] - pivot), K, cameras)


def spiral(cameras: Cameras, depth: float, frames: int = 49) -> Cameras:
    """A flat spiral of two turns about the middle pose. It opens and closes again (after LLFF, Mildenhall et al. 2019).

    cameras: the two inputs.  depth: distance to the point that all cameras look at, scene units.
    Sideways, the radius reaches a quarter of the baseline, but at most a tenth of the depth. Vertically, it reaches
    half as much. The path starts and ends at the middle pose.
    """
    middle, K, baseline = _middle(cameras, depth)
    radius = min(SPIRAL_RADIUS * float(baseline.norm()) / 2, SPIRAL_BOUND * depth)
    times = eased_times(frames).to(middle.device)
    # Offsets in the axes of the middle pose.
    reach = radius * torch.sin(math.pi * times)
    turns = 4 * math.pi * times
    local = torch.stack([reach * torch.cos(turns), 0.5 * reach * torch.sin(turns), torch.zeros_like(reach)], -1)
    centre = middle[:3, 3] + local @ middle[:3, :3].T
    # Every camera looks at the same point. Its x axis is normal to the middle pose's y axis.
    z = middle[:3, 3] + depth * middle[:3, 2] - centre
    z = z / z.norm(dim=-1, keepdim=True)
    x = torch.linalg.cross(middle[:3, 1].expand_as(z), z)
    x = x / x.norm(dim=-1, keepdim=True)
    return _path(torch.stack([x, torch.linalg.cross(z, x), z], -1), centre, K, cameras)


def dolly(cameras: Cameras, depth: float, frames: int = 49) -> Cameras:
    """Straight ahead from the middle pose by a fifth of the scene depth, without turning.

    cameras: the two inputs.  depth: distance to the scene, scene units.
    The path only leads forward, because a step back would show what neither photograph saw.
    """
    middle, K, _ = _middle(cameras, depth)
    travel = DOLLY_TRAVEL * depth * eased_times(frames).to(middle.device)
    centre = middle[:3, 3] + travel[:, None] * middle[:3, 2]
    return _path(middle[:3, :3].expand(frames, 3, 3), centre, K, cameras)
