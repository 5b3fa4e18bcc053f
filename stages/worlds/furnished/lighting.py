"""Light on surfaces: lamps, windows and the sun with soft shadows, and ambient light that is darker in corners.

Shadow rays are cast from every second pixel of every second row. Each of 16 neighbours takes another one of 16 samples
of a light's area (or of the hemisphere). A mean over neighbours on one surface then removes the pattern (interleaved
sampling, Keller and Heidrich 2001).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stages.worlds.furnished.raycast import Caster
from stages.worlds.furnished.vectors import Floats, Integers, dot


@dataclass(frozen=True)
class Light:
    """A parallelogram that shines.

    place: [3], its centre, metres.  spread: [2, 3], half its sides.  facing: [3], its direction, or None for all.
    colour: [3], linear: the light that a white surface at a distance of one metre reflects.
    """

    place: ArrayLike
    spread: ArrayLike
    colour: ArrayLike
    facing: ArrayLike | None = None


# Sixteen points in [-1, 1]^2, one in each cell of a 4 x 4 grid. In this order neighbours are far apart.
_ORDER = np.array([0, 10, 5, 15, 12, 6, 9, 3, 2, 8, 7, 13, 14, 4, 11, 1])
STRATA = np.stack([(_ORDER % 4 + 0.5) / 2 - 1, (_ORDER // 4 + 0.5) / 2 - 1], 1).astype(np.float32)


def hemisphere(normal: Floats, slot: Integers) -> Floats:
    """A direction about each normal, [R, 3], one of 16 cosine-weighted ones. normal: [R, 3].  slot: [R], its number."""
    radius = np.sqrt((STRATA[:, 0] + 1) / 2)
    angle = (STRATA[:, 1] + 1) * np.pi
    up = np.sqrt(np.maximum(1 - radius**2, 0.02))
    disc = np.stack([radius * np.cos(angle), radius * np.sin(angle), up], 1).astype(np.float32).take(slot, 0)
    sign = np.where(normal[:, 2:] >= 0, np.float32(1), np.float32(-1))
    # An orthonormal basis without branches (Duff et al. 2017).
    a = -1 / (sign[:, 0] + normal[:, 2])
    b = normal[:, 0] * normal[:, 1] * a
    s = sign[:, 0]
    tangent = np.stack([1 + s * normal[:, 0] ** 2 * a, s * b, -s * normal[:, 0]], 1)
    other = np.stack([b, s + normal[:, 1] ** 2 * a, -normal[:, 1]], 1)
    return disc[:, :1] * tangent + disc[:, 1:2] * other + disc[:, 2:] * normal


def visibility(
    caster: Caster,
    points: Floats,
    normals: Floats,
    hit: NDArray[np.bool_],
    lights: list[Light],
    reach: float,
    shape: tuple[int, int],
) -> Floats:
    """Whether each point sees its sample of the surroundings and of every light, [1 + L, h w], 0 or 1.

    points: [h w, 3], a little in front of the surfaces.  normals: [h w, 3].  hit: [h w], whether there is a surface.
    reach: distance in metres up to which things darken a corner.
    """
    h, w = shape
    slot = ((np.arange(h) % 4)[:, None] * 4 + np.arange(w) % 4).reshape(-1)
    seen = np.zeros((1 + len(lights), h * w), np.float32)
    seen[0] = 1
    origins, directions, lengths, rows, columns = [], [], [], [], []
    index = np.nonzero(hit)[0]
    origins.append(points.take(index, 0))
    directions.append(hemisphere(normals.take(index, 0), slot.take(index)))
    lengths.append(np.full(len(index), reach, np.float32))
    rows.append(np.zeros(len(index), np.int64))
    columns.append(index)
    for k, light in enumerate(lights):
        place, spread = np.asarray(light.place, np.float32), np.asarray(light.spread, np.float32)
        towards = place + STRATA.take(slot, 0) @ spread - points
        facing = hit & (dot(towards, normals) > 0)
        if light.facing is not None:
            facing &= dot(towards, np.asarray(light.facing, np.float32)) < 0
        index = np.nonzero(facing)[0]
        origins.append(points.take(index, 0))
        directions.append(towards.take(index, 0))
        lengths.append(np.full(len(index), 0.995, np.float32))
        rows.append(np.full(len(index), k + 1))
        columns.append(index)
    blocked = caster.blocked(np.concatenate(origins), np.concatenate(directions), np.concatenate(lengths))
    seen[np.concatenate(rows), np.concatenate(columns)] = 1 - blocked.astype(np.float32)
    return seen


def smooth(values: Floats, face: Integers, depth: Floats, shape: tuple[int, int]) -> Floats:
    """Mean of values [C, h w] over 4 x 4 neighbours on the same face and at a similar depth. face, depth: [h w]."""
    h, w = shape
    grid, face, depth = values.reshape(-1, h, w), face.reshape(h, w), depth.reshape(h, w)
    total, weight = grid.copy(), np.ones((h, w), np.float32)
    padded = np.pad(grid, ((0, 0), (2, 2), (2, 2)))
    faces = np.pad(face, 2, constant_values=-9)
    depths = np.pad(depth, 2)
    for dy in range(-2, 2):
        for dx in range(-2, 2):
            if dy == 0 and dx == 0:
                continue
            rows, columns = slice(2 + dy, 2 + dy + h), slice(2 + dx, 2 + dx + w)
            same = (faces[rows, columns] == face) & (np.abs(depths[rows, columns] - depth) < 0.08 * depth)
            total += padded[:, rows, columns] * same
            weight += same
    return (total / weight).reshape(len(values), -1)


def irradiance(
    points: Floats, normals: Floats, visible: Floats, lights: list[Light], ambient: Floats, above: float
) -> Floats:
    """Light on points of surfaces, [R, 3], linear.

    points, normals: [R, 3].  visible: [1 + L, R].  ambient: [3].
    above: 0 for ambient light that is even, up to 1 if all of it comes from above.
    """
    around = (0.25 + 0.75 * visible[0]) * (1 + above * normals[:, 2])
    total = around[:, None] * ambient
    for k, light in enumerate(lights):
        towards = np.asarray(light.place, np.float32) - points
        squared = dot(towards, towards)
        far = np.sqrt(squared)
        strength = np.maximum(dot(towards, normals), 0) / np.maximum(far, 1e-6) * visible[k + 1]
        if light.facing is not None:
            strength = (
                strength * np.maximum(-dot(towards, np.asarray(light.facing, np.float32)), 0) / np.maximum(far, 1e-6)
            )
        total += (strength / (squared + 0.25))[:, None] * np.asarray(light.colour, np.float32)
    return total
