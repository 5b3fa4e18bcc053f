"""Plain shapes among the furniture (boxes, balls, cylinders, bars), and small things on tables and boards."""

from math import pi

import numpy as np

from stages.worlds.furnished.mesh import turned
from stages.worlds.furnished.palette import Palette
from stages.worlds.furnished.vectors import Floats


def any_turn(palette: Palette) -> Floats:
    """A uniformly random rotation, [3, 3]."""
    q, r = np.linalg.qr(palette.rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return (q * np.linalg.det(q)).astype(np.float32)


def plain_shape(palette: Palette, x: float, y: float, z: float, size: float, standing: bool = True) -> None:
    """A box, ball or cylinder of about `size` metres on (x, y, z). standing: upright, otherwise turned at random."""
    half = palette.rng.uniform(0.15, 0.5, 3) * size
    gloss = palette.uniform(0.1, 0.6) if palette.chance(0.3) else 0.0
    material = palette.tiled("any", gloss) if palette.chance(0.6) else palette.plain(0.05, gloss=gloss)
    turn = turned(palette.uniform(0, 2 * pi)) if standing else any_turn(palette)
    centre, tile = (x, y, z + float(half[2])), palette.uniform(0.2, 1.0) * size
    kind = palette.rng.integers(3)
    if kind == 0:
        palette.mesh.box(centre, half, material, tile, turn)
    elif kind == 1:
        palette.mesh.ball(centre, half, material, tile, turn)
    else:
        half[1] = half[0]
        palette.mesh.cylinder(
            centre, half, material, tile, turn, 1.0 if palette.chance(0.6) else palette.uniform(0.3, 1.3)
        )


def bar(palette: Palette, low: Floats, high: Floats) -> None:
    """A thin bar somewhere in a box, upright, level or askew."""
    half = np.full(3, palette.uniform(0.008, 0.03))
    half[palette.rng.integers(3)] = palette.uniform(0.3, 1.5)
    centre = palette.rng.uniform(low, high)
    turn = any_turn(palette) if palette.chance(0.3) else turned(palette.uniform(0, 2 * pi))
    palette.mesh.box(centre, half, palette.surface("wood", 0.6), 0.5, turn)


def set_table(
    palette: Palette, x: float, y: float, z: float, width: float, depth: float, angle: float, count: int
) -> None:
    """Put up to `count` small things on a table top of this size, centred at (x, y, z) and turned by `angle`."""
    c, s = float(np.cos(angle)), float(np.sin(angle))
    placed: list[tuple[float, float, float]] = []
    for _ in range(count):
        u, v = palette.uniform(-0.42, 0.42) * width, palette.uniform(-0.4, 0.4) * depth
        primitive = palette.chance(0.2)
        shape = None if primitive else palette.assets.pick(palette.rng, "small", "small", "small", "table lamp")
        radius = palette.uniform(0.04, 0.14) if shape is None else max(shape.size[0], shape.size[1]) / 2
        if radius > 0.7 * min(width, depth) or any(
            (u - a) ** 2 + (v - b) ** 2 < (0.9 * (radius + r)) ** 2 for a, b, r in placed
        ):
            continue
        if shape is not None and shape.size[2] > 0.9:
            continue
        placed.append((u, v, radius))
        px, py = x + c * u - s * v, y + s * u + c * v
        if shape is None:
            plain_shape(palette, px, py, z, 2 * radius)
        else:
            palette.model(shape, (px, py, z), angle + palette.uniform(-0.8, 0.8), palette.uniform(0.9, 1.25))


def books(
    palette: Palette, x: float, y: float, z: float, width: float, depth: float, room: float, angle: float
) -> None:
    """A row of books and boxes on a board of this width and depth, at most `room` metres high."""
    c, s = float(np.cos(angle)), float(np.sin(angle))
    at = -width / 2
    while at < width / 2 - 0.03:
        if palette.chance(0.12):
            at += palette.uniform(0.05, 0.3)
            continue
        thick = palette.uniform(0.015, 0.06) if palette.chance(0.85) else palette.uniform(0.08, 0.22)
        high, deep = palette.uniform(0.5, 0.92) * min(room, 0.34), palette.uniform(0.5, 0.9) * depth
        if at + thick > width / 2:
            break
        u, v = at + thick / 2, 0.1 * depth
        centre = (x + c * u - s * v, y + s * u + c * v, z + high / 2)
        material = palette.plain(0.04, 0.7, 0.7) if palette.chance(0.7) else palette.tiled("any")
        palette.mesh.box(centre, (thick / 2, deep / 2, high / 2), material, 0.3, turned(angle), (0, 1, 2, 3, 4))
        at += thick + 0.002
