"""Doors, doorways, and windows with a view."""

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
    """Add a closed door: a model, or a plain one with its frame."""
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
    """Add a window with a frame, curtains and a view. Returns its light, or nothing if there is no place for it."""
    width = palette.uniform(0.7, min(2.8, max(0.75, wall.length - 0.5)))
    low = palette.uniform(0.5, 1.05) if palette.chance(0.8) else 0.03
    high = min(palette.uniform(1.9, 2.35), wall.height - 0.12)
    middle = wall.find(palette, width + 0.3, low, high)
    if middle is None:
        return []
    first, last = middle - width / 2, middle + width / 2
    wall.openings.append((first, last, low, high))
    wall.taken.append((first - 0.12, last + 0.12, low - 0.05, high + 0.05))
    mesh, turn = palette.mesh, turned(wall.angle)
    frame = palette.plain(0.6, 0.95, 0.15, 0.2) if palette.chance(0.6) else palette.tiled("wood")
    panes = max(1, round(width / palette.uniform(0.5, 1.1)))
    rows = 1 if palette.chance(0.6) else int(palette.rng.integers(2, 4))
    bar, off = palette.uniform(0.015, 0.035), -0.5 * thickness
    for k in range(panes + 1):
        x, y = wall.point(first + k * width / panes, off)
        mesh.box((x, y, (low + high) / 2), (bar, 0.025, (high - low) / 2), frame, 0.7, turn)
    for k in range(rows + 1):
        x, y = wall.point(middle, off)
        mesh.box((x, y, low + k * (high - low) / rows), (width / 2, 0.024, bar), frame, 0.7, turn)
    sill = palette.plain(0.5, 0.9, 0.1)
    mesh.box(
        (*wall.point(middle, 0.04 - thickness / 2), low - 0.015),
        (width / 2 + 0.04, thickness / 2 + 0.05, 0.015),
        sill,
        1.0,
        turn,
    )
    _outside(palette, wall, middle, width, low)
    if palette.chance(0.5):
        with mesh.one_thing():
            _curtains(palette, wall, first, last, high)
    colour = (
        np.array([palette.uniform(0.85, 1.0), 0.97, palette.uniform(0.95, 1.15)])
        * palette.uniform(1.0, 2.6)
        * width
        * (high - low)
    )
    along = wall.along.astype(float) * width * 0.45
    centre = (*wall.point(middle, -0.02), (low + high) / 2)
    facing = (float(wall.inward[0]), float(wall.inward[1]), 0.0)
    return [Light(centre, ((along[0], along[1], 0.0), (0.0, 0.0, 0.45 * (high - low))), colour, facing)]


def _outside(palette: Palette, wall: Wall, middle: float, width: float, low: float) -> None:
    """Add the view from a window: ground, houses and hedges, or a picture. It glows with daylight."""
    mesh, day = palette.mesh, palette.uniform(0.6, 2.2)
    along, out = wall.along.astype(float), -wall.inward.astype(float)

    def shining(kind: str) -> int:
        k = int(palette.rng.choice(palette.assets.kinds[kind]))
        mean = float(np.mean(palette.assets.mean[k] ** 2.2))
        return mesh.material(Material(np.full(3, min(0.3 / max(mean, 0.02), 2.5), np.float32), TILED, k, 0.0, day))

    def upright(
        across: float, distance: float, half: float, bottom: float, top: float, material: int, tile: float | None
    ) -> None:
        start, end = (wall.point(middle + across + side * half, -distance) for side in (-1, 1))
        mesh.quad((*start, bottom), (end[0] - start[0], end[1] - start[1], 0), (0, 0, top - bottom), material, tile)

    ground = -palette.uniform(0.1, 0.6) if palette.chance(0.6) else -palette.uniform(2.5, 9.0)
    with mesh.one_thing():
        start = wall.point(middle - 60, -0.6)
        corner = (*start, ground)
        lawn = shining("grass" if palette.chance(0.6) else "road")
        mesh.quad(corner, (*(along * 120), 0.0), (*(out * 100), 0.0), lawn, palette.uniform(1.5, 5))
    if palette.chance(0.25):
        upright(
            0.0,
            palette.uniform(2.0, 9.0),
            palette.uniform(1.5, 4.0),
            ground,
            ground + palette.uniform(2, 6),
            shining("picture"),
            None,
        )
    for _ in range(int(palette.rng.integers(0, 5))):
        distance = palette.uniform(4.0, 30.0)
        across = palette.uniform(-1, 1) * (width + distance)
        house = palette.chance(0.5)
        half, top = (
            (palette.uniform(2, 7), palette.uniform(3, 12))
            if house
            else (palette.uniform(0.5, 3), palette.uniform(0.8, 3.0))
        )
        upright(
            across,
            distance,
            half,
            ground,
            ground + top,
            shining("facade" if house else "grass"),
            palette.uniform(1.5, 4.0),
        )


def _curtains(palette: Palette, wall: Wall, first: float, last: float, high: float) -> None:
    """Add folded curtains at both sides of a window."""
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
