"""Table-tops: many small things on a table in a room, seen from near."""

from math import pi

import numpy as np

from stages.worlds.furnished.clutter import set_table
from stages.worlds.furnished.lighting import Light
from stages.worlds.furnished.mesh import turned
from stages.worlds.furnished.palette import Palette
from stages.worlds.furnished.rooms import make_room
from stages.worlds.furnished.vectors import Floats


def make_table_top(palette: Palette) -> tuple[list[Light], Floats, Floats]:
    """A room with a full table in its middle. Returns its lights, `World.stand` and `World.aim`."""
    lights, stand, _, plans = make_room(palette)
    plan = plans[0]
    x, y = (float(v) for v in (plan.low + plan.high) / 2)
    angle = palette.uniform(0, 2 * pi)
    shape = palette.assets.pick(palette.rng, "table", "low table", "desk") if palette.chance(0.6) else None
    if shape is not None:
        width, depth, height = shape.size
        palette.model(shape, (x, y, 0.0), angle)
        # The catalogue's height may be that of a rim. A cloth gives things something to stand on.
        if palette.chance(0.5):
            palette.mesh.box(
                (x, y, height + 0.004), (width * 0.49, depth * 0.49, 0.004), palette.tiled("cloth"), 0.7, turned(angle)
            )
    else:
        width, depth, height = palette.uniform(0.8, 1.9), palette.uniform(0.6, 1.1), palette.uniform(0.45, 0.8)
        wood, turn = palette.surface("wood", 0.2, 0.2), turned(angle)
        palette.mesh.box((x, y, height - 0.02), (width / 2, depth / 2, 0.02), wood, palette.uniform(0.5, 1.5), turn)
        for sx in (-0.9, 0.9):
            for sy in (-0.9, 0.9):
                dx, dy, _ = (turn @ np.array([sx * width / 2, sy * depth / 2, 0], np.float32)).tolist()
                palette.mesh.box((x + dx, y + dy, height / 2 - 0.02), (0.03, 0.03, height / 2 - 0.02), wood, 0.5, turn)
    set_table(palette, x, y, height + 0.008, width, depth, angle, int(palette.rng.integers(8, 26)))
    reach = 0.5 * max(width, depth)
    near = np.array(
        [[x - reach - 0.6, y - reach - 0.6, height + 0.15], [x + reach + 0.6, y + reach + 0.6, height + 0.9]],
        np.float32,
    )
    near[0, :2] = np.maximum(near[0, :2], stand[0, :2])
    near[1, :2] = np.minimum(near[1, :2], stand[1, :2])
    aim = np.array(
        [[x - 0.3 * width, y - 0.3 * depth, height - 0.1], [x + 0.3 * width, y + 0.3 * depth, height + 0.25]],
        np.float32,
    )
    return lights, near, aim
