"""Doors, doorways and windows, with what lies outside."""

from __future__ import annotations

import numpy as np

from stages.worlds.furnished.lighting import Light
from stages.worlds.furnished.mesh import TILED, Material, turned
from stages.worlds.furnished.palette import Palette
from stages.worlds.furnished.plan import Wall


def doorway(palette: Palette, wall: Wall, middle: float, width: float) -> None:
    """An opening without a door, 2.05 m high."""
    wall.openings.append((middle - width / 2, middle + width / 2, 0.0, 2.05))
    wall.taken.append((middle - width / 2 - 0.1, middle + width / 2 + 0.1, 0.0, 2.1))


def door(palette: Palette, wall: Wall, thickness: float) -> None:
    """A closed door, from the pack or a plain one with its frame."""
    shape = palette.assets.pick(palette.rng, "door")
    width, height = (shape.size[0], shape.size[2]) if shape is not None else (palette.uniform(0.75, 0.95), 2.05)
    middle = wall.find(palette, width + 0.16, 0.0, height)
    if middle is None:
        return
    wall.taken.append((middle - width / 2 - 0.08, middle + width / 2 + 0.08, 0.0, height))
    if shape is not None:
        palette.model(shape, (*wall.point(middle, shape.size[1] / 2 - 0.06), 0.0), wall.angle)
        return
    frame, leaf, turn = palette.surface("wood", 0.6), palette.surface("wood", 0.6, 0.2), turned(wall.angle)
    x, y = wall.point(middle, 0.0)
    palette.mesh.box((x, y, height / 2), (width / 2 + 0.07, 0.025, height / 2 + 0.05), frame, 0.7, turn)
    palette.mesh.box((x, y, height / 2), (width / 2, 0.04, height / 2 - 0.02), leaf, 0.9, turn)
    knob = wall.point(middle + (width / 2 - 0.08) * (1 if palette.chance(0.5) else -1), 0.07)
    palette.mesh.ball((*knob, 1.02), (0.03, 0.03, 0.03), palette.plain(0.3, 0.8, 0.2, 0.9), 1.0)


def window(palette: Palette, wall: Wall, thickness: float) -> list[Light]:
    """A window with a frame, curtains, and a picture of the outside some metres behind it; its light, none if there was no place."""
    width = palette.uniform(0.7, min(2.8, max(0.75, wall.length - 0.5)))
    low = palette.uniform(0.5, 1.05) if palette.chance(0.8) else 0.03
    high = min(palette.uniform(1.9, 2.35), wall.height - 0.12)
    middle = wall.find(palette, width + 0.3, low, high)
    if middle is None:
        return []
    first, last = middle - width / 2, middle + width / 2
    wall.openings.append((first, last, low, high))
    wall.taken.append((first - 0.12, last + 0.12, low - 0.05, high + 0.05))
    mesh, turn, angle = palette.mesh, turned(wall.angle), wall.angle
    frame = palette.plain(0.6, 0.95, 0.15, 0.2) if palette.chance(0.6) else palette.tiled("wood")
    panes, rows = max(1, round(width / palette.uniform(0.5, 1.1))), 1 if palette.chance(0.6) else int(palette.rng.integers(2, 4))
    bar, off = palette.uniform(0.015, 0.035), -0.5 * thickness
    for k in range(panes + 1):
        x, y = wall.point(first + k * width / panes, off)
        mesh.box((x, y, (low + high) / 2), (bar, 0.025, (high - low) / 2), frame, 0.7, turn)
    for k in range(rows + 1):
        x, y = wall.point(middle, off)
        mesh.box((x, y, low + k * (high - low) / rows), (width / 2, 0.024, bar), frame, 0.7, turn)
    sill = palette.plain(0.5, 0.9, 0.1)
    mesh.box((*wall.point(middle, 0.04 - thickness / 2), low - 0.015), (width / 2 + 0.04, thickness / 2 + 0.05, 0.015), sill, 1.0, turn)
    # Outside: a picture that stands upright behind the window, large enough to fill it from anywhere inside, and lit by the day.
    distance = palette.uniform(3.0, 12.0)
    reach = width / 2 + 2.2 * distance
    start, end = wall.point(middle - reach, -distance), wall.point(middle + reach, -distance)
    day = palette.uniform(1.2, 3.0)
    tile = int(palette.rng.choice(palette.assets.kinds["picture" if palette.chance(0.5) else "grass"]))
    outside = mesh.material(Material(np.full(3, palette.uniform(0.6, 1.0)), TILED, tile, 0.0, day))
    bottom, top = low - 0.8 * distance, high + 1.2 * distance
    mesh.quad((*start, bottom), (end[0] - start[0], end[1] - start[1], 0), (0, 0, top - bottom), outside, palette.uniform(2.0, 6.0))
    if palette.chance(0.5):
        _curtains(palette, wall, first, last, high)
    colour = np.array([palette.uniform(0.85, 1.0), 0.97, palette.uniform(0.95, 1.15)]) * palette.uniform(1.0, 2.6) * width * (high - low)
    along = wall.along.astype(float) * width * 0.45
    centre = (*wall.point(middle, -0.02), (low + high) / 2)
    facing = (float(wall.inward[0]), float(wall.inward[1]), 0.0)
    return [Light(centre, ((along[0], along[1], 0.0), (0.0, 0.0, 0.45 * (high - low))), colour, facing)]


def _curtains(palette: Palette, wall: Wall, first: float, last: float, high: float) -> None:
    """Folded cloth at both sides of a window, from a rail."""
    cloth = palette.tiled("cloth") if palette.chance(0.6) else palette.plain(0.2, 0.9, 0.6)
    low = 0.05 if palette.chance(0.7) else palette.uniform(0.5, 0.9)
    top = min(high + 0.1, wall.height - 0.02)
    drawn = palette.uniform(0.12, 0.35) * (last - first)
    fold, deep = palette.uniform(0.06, 0.12), palette.uniform(0.02, 0.045)
    for start, end in ((first - 0.1, first - 0.1 + drawn), (last + 0.1 - drawn, last + 0.1)):
        start, end = max(start, 0.02), min(end, wall.length - 0.02)
        count = max(2, round((end - start) / fold) * 2)
        edges = np.linspace(start, end, count + 1)
        for k in range(count):
            near, far = (0.06 + deep, 0.06 - deep) if k % 2 else (0.06 - deep, 0.06 + deep)
            (px, py), (qx, qy) = wall.point(float(edges[k]), near), wall.point(float(edges[k + 1]), far)
            palette.mesh.quad((px, py, low), (qx - px, qy - py, 0), (0, 0, top - low), cloth, 0.6)
