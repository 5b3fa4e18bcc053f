"""Random pairs of cameras that overlap, and the motion between them.

stages/worlds/motion.py is the same in torch, but for narrower lenses and smaller turns.
"""

import numpy as np

from stages.worlds.furnished.raycast import Caster
from stages.worlds.furnished.render import World, centres, directions_at
from stages.worlds.furnished.vectors import Floats

SKETCH = 24  # longer side, px, of the small depth maps ("sketches") from which overlap is computed
MANY = 6  # smallest number of things in the first photograph: nobody photographs a bare wall


def look(origin: Floats, forward: Floats, roll: float) -> Floats:
    """Camera-to-world matrix [4, 4] at `origin` [3], looking along `forward` [3], rolled by `roll` radians. z is up."""
    z = forward / np.linalg.norm(forward)
    x = np.cross(z, (0.0, 0.0, 1.0))
    x /= np.linalg.norm(x)
    y = np.cross(z, x)
    c, s = np.cos(roll), np.sin(roll)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([c * x + s * y, c * y - s * x, z], -1)
    pose[:3, 3] = origin
    return pose


def between(a: Floats, b: Floats, t: float) -> Floats:
    """Pose [4, 4] at time t of the straight motion with constant turn from a at t = 0 to b at t = 1. t: any number."""
    relative = a[:3, :3].T @ b[:3, :3]
    angle = np.arccos(np.clip((np.trace(relative) - 1) / 2, -1, 1))
    pose = np.eye(4)
    pose[:3, :3] = a[:3, :3]
    if angle > 1e-7:
        skew = (relative - relative.T) / (2 * np.sin(angle))
        pose[:3, :3] = a[:3, :3] @ (np.eye(3) + np.sin(angle * t) * skew + (1 - np.cos(angle * t)) * skew @ skew)
    pose[:3, 3] = a[:3, 3] * (1 - t) + b[:3, 3] * t
    return pose


def intrinsics(field_of_view: float, size: tuple[int, int]) -> Floats:
    """K [3, 3] for a field of view in radians across the longer side. The principal point is the centre."""
    focal = max(size) / 2 / np.tan(field_of_view / 2)
    return np.array([[focal, 0, size[1] / 2], [0, focal, size[0] / 2], [0, 0, 1.0]])


_SIGNS = [(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if (x, y, z) != (0, 0, 0)]
_AROUND = np.array(_SIGNS, np.float32) / np.linalg.norm(_SIGNS, axis=1, keepdims=True).astype(np.float32)


def free(caster: Caster, place: Floats, margin: float) -> bool:
    """Whether nothing is within `margin` metres of a place, in 26 directions."""
    origins = np.broadcast_to(place.astype(np.float32), _AROUND.shape)
    return not caster.blocked(origins, _AROUND, np.full(len(_AROUND), margin, np.float32)).any()


def sketch_of(world: World, c2w: Floats, K: Floats, size: tuple[int, int]) -> tuple[Floats, int]:
    """Exact depth [h, w] of a small view, and the number of things in it."""
    hits = world.caster.cast(c2w[:3, 3].astype(np.float32), directions_at(centres(size), c2w, K))
    things = np.unique(world.surfaces.face[hits.triangle[hits.triangle >= 0]] // 6)
    return hits.distance.reshape(size), len(things)


def overlap(first: Floats, second: Floats, a: Floats, b: Floats, K: Floats, size: tuple[int, int]) -> float:
    """Share of the first camera's pixels that the second camera sees, from the depth maps [h, w] of both."""
    h, w = size
    points = a[:3, 3] + directions_at(centres(size), a, K) * first.reshape(-1, 1)
    local = (points - b[:3, 3]) @ b[:3, :3]
    z = np.maximum(local[:, 2], 1e-6)
    x, y = local[:, 0] / z * K[0, 0] + K[0, 2], local[:, 1] / z * K[1, 1] + K[1, 2]
    inside = (local[:, 2] > 0) & (x >= 0) & (x < w) & (y >= 0) & (y < h)
    there = second[np.clip(y, 0, h - 1).astype(int), np.clip(x, 0, w - 1).astype(int)]
    return float((inside & (z < there * 1.08 + 1e-3)).mean())


def sample_pair(
    world: World, rng: np.random.Generator, size: tuple[int, int], tries: int = 80
) -> tuple[Floats, Floats, Floats] | None:
    """Two poses [4, 4] and their K [3, 3], or None after `tries` failures. They move and turn like a hand-held camera.

    The overlap is 30 to 97 %, the baseline 4 to 70 % of the median depth, and the field of view 40 to 112 degrees
    across the longer side.
    """
    sketch = (SKETCH * size[0] // max(size), SKETCH * size[1] // max(size))
    field = float(rng.uniform(0.7, 1.95))
    small = intrinsics(field, sketch)
    for _ in range(tries):
        # A camera with room around it that sees enough things, none of them too near.
        place = rng.uniform(world.stand[0], world.stand[1])
        target = rng.uniform(world.aim[0], world.aim[1])
        if np.linalg.norm((target - place)[:2]) < 0.35 * np.linalg.norm((world.aim[1] - world.aim[0])[:2]):
            continue
        if not free(world.caster, place, 0.22):
            continue
        first = look(
            place,
            target - place + (0, 0, rng.normal(0, 0.06) * np.linalg.norm(target - place)),
            float(rng.normal(0, 0.05)),
        )
        depth_a, things = sketch_of(world, first, small, sketch)
        if things < MANY:
            continue
        median = float(np.median(depth_a))
        if np.quantile(depth_a, 0.03) < 0.3 or median > 60 or (depth_a < 0.5).mean() > 0.08:
            continue
        # A step to a second place, mostly sideways or mostly forward or back.
        right, up, forward = first[:3, 0], -first[:3, 1], first[:3, 2]
        kind = rng.random()
        step = (
            right * rng.uniform(-1.2, 1.2)
            + forward * rng.uniform(-1, 1) * (2.5 if kind < 0.5 else 0.5)
            + up * rng.uniform(-0.25, 0.25)
        )
        baseline = median * (rng.uniform(0.04, 0.5) if rng.random() < 0.75 else rng.uniform(0.3, 0.7))
        moved = place + step / np.linalg.norm(step) * min(baseline, 6.0)
        if moved[2] < 0.25 or not free(world.caster, moved, 0.18) or _between_them(world.caster, place, moved):
            continue
        # The second camera looks near a point in front of the first. Most people turn a little, some turn far.
        focus = place + forward * median * rng.uniform(0.6, 1.8)
        turn = 0.25 if rng.random() < 0.3 else 0.09
        aim = (focus - moved) / np.linalg.norm(focus - moved) + rng.normal(0, turn, 3)
        second = look(moved, aim, float(rng.normal(0, 0.05)))
        depth_b, _ = sketch_of(world, second, small, sketch)
        if (
            np.quantile(depth_b, 0.03) < 0.28
            or not 0.3 < overlap(depth_a, depth_b, first, second, small, sketch) < 0.97
        ):
            continue
        return first, second, intrinsics(field, size)
    return None


def _between_them(caster: Caster, a: Floats, b: Floats) -> bool:
    """Whether something stands between two places."""
    return bool(caster.blocked(a[None].astype(np.float32), (b - a)[None].astype(np.float32), np.ones(1, np.float32))[0])
