"""Furnished rooms: living rooms, bedrooms, kitchens, offices, bathrooms, halls, often with a second one behind."""

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np

from stages.worlds.furnished.clutter import bar, books, plain_shape, set_table
from stages.worlds.furnished.lighting import Light
from stages.worlds.furnished.mesh import Material, turned
from stages.worlds.furnished.openings import door, doorway, window
from stages.worlds.furnished.pack import Shape
from stages.worlds.furnished.palette import Palette
from stages.worlds.furnished.plan import Plan
from stages.worlds.furnished.vectors import Floats


@dataclass(frozen=True)
class Furnishing:
    """What a kind of room holds: the mean number of models of each role, along its walls and elsewhere on its floor."""

    along: dict[str, float]
    about: dict[str, float]


KINDS = {
    "living": Furnishing(
        {"sofa": 1.4, "cabinet": 1.6, "armchair": 0.6, "plant": 0.8, "floor lamp": 0.5, "other": 0.6}, {"armchair": 0.5}
    ),
    "bedroom": Furnishing(
        {"bed": 1.3, "cabinet": 1.8, "desk": 0.5, "seat": 0.4, "plant": 0.4, "other": 0.4}, {"seat": 0.3}
    ),
    "dining": Furnishing({"cabinet": 1.6, "plant": 0.7, "seat": 0.5, "other": 0.3}, {"table": 1.3}),
    "kitchen": Furnishing({"cabinet": 0.4, "other": 0.3, "plant": 0.2}, {"table": 0.8}),
    "office": Furnishing(
        {"desk": 1.5, "cabinet": 2.0, "plant": 0.5, "other": 0.5}, {"desk": 0.6, "table": 0.3, "seat": 0.6}
    ),
    "bath": Furnishing({"bath": 4.0, "cabinet": 0.4, "plant": 0.2, "radiator": 0.4}, {"other": 0.2}),
    "hall": Furnishing(
        {"cabinet": 1.2, "seat": 0.7, "plant": 0.9, "low table": 0.3, "other": 0.7, "floor lamp": 0.3}, {"person": 0.3}
    ),
    "store": Furnishing(
        {"cabinet": 2.0, "other": 2.0, "garden": 1.5, "cycle": 0.7, "kitchen": 0.5}, {"other": 1.0, "garden": 0.6}
    ),
}
SHARES = {"living": 0.3, "bedroom": 0.15, "dining": 0.14, "kitchen": 0.13, "office": 0.1, "bath": 0.05}
SHARES |= {"hall": 0.09, "store": 0.04}  # the share of each kind among all rooms


def make_room(palette: Palette) -> tuple[list[Light], Floats, Floats, list[Plan]]:
    """Furnish a room, and often one behind it. Returns the lights, `World.stand`, `World.aim`, and the rooms' plans."""
    rng = palette.rng
    kind = str(rng.choice(list(SHARES), p=np.array(list(SHARES.values())) / sum(SHARES.values())))
    x, y = palette.uniform(2.6, 6.5), palette.uniform(2.6, 6.5)
    if kind == "hall" or palette.chance(0.12):
        x, y = palette.uniform(1.3, 2.6), palette.uniform(5.0, 13.0)
    if kind == "bath":
        x, y = palette.uniform(1.9, 3.2), palette.uniform(2.2, 4.0)
    height = palette.uniform(2.3, 2.9) if palette.chance(0.8) else palette.uniform(2.9, 3.8)
    plans, lights = [Plan(0.0, 0.0, x, y, height)], list[Light]()
    thickness = palette.uniform(0.1, 0.3)
    if palette.chance(0.45):
        plans.append(_room_behind(palette, plans[0], thickness))
    for k, room in enumerate(plans):
        lights += _openings(palette, room, thickness, 2 if k == 0 else 1)
        _cover(palette, room, thickness)
        furnish(palette, room, kind if k == 0 else str(rng.choice(list(KINDS))))
        lights += _lamps(palette, room, not any(light.facing is not None for light in lights))
    low, high = np.array([0.2, 0.2, 0.7]), np.array([x - 0.2, y - 0.2, min(1.95, height - 0.3)])
    aim_low, aim_high = np.array([0.0, 0.0, 0.2]), np.array([x, y, 1.6])
    return lights, np.stack([low, high]).astype(np.float32), np.stack([aim_low, aim_high]).astype(np.float32), plans


def _room_behind(palette: Palette, plan: Plan, thickness: float) -> Plan:
    """A second room on the other side of the wall at +y, behind an open doorway."""
    (x0, _), (x1, y1) = plan.low, plan.high
    width = palette.uniform(0.85, 1.0) if palette.chance(0.6) else palette.uniform(1.2, max(1.25, 0.6 * (x1 - x0)))
    width = min(width, float(x1 - x0) - 0.4)
    middle = palette.uniform(float(x0) + width / 2 + 0.15, float(x1) - width / 2 - 0.15)
    left, right = middle - width / 2 - palette.uniform(0.3, 3.0), middle + width / 2 + palette.uniform(0.3, 3.0)
    behind = Plan(left, float(y1) + thickness, right, float(y1) + thickness + palette.uniform(2.0, 5.0), plan.height)
    doorway(palette, plan.walls[1], float(x1) - middle, width)
    doorway(palette, behind.walls[3], middle - left, width)
    return behind


def _openings(palette: Palette, plan: Plan, thickness: float, most: int) -> list[Light]:
    lights: list[Light] = []
    for wall in (plan.walls[int(k)] for k in palette.rng.permutation(4)):
        if len(lights) < most and palette.chance(0.55):
            lights += window(palette, wall, thickness)
        elif palette.chance(0.45):
            door(palette, wall, thickness)
    return lights


def _cover(palette: Palette, plan: Plan, thickness: float) -> None:
    gloss = palette.uniform(0.1, 0.7) if palette.chance(0.4) else 0.0
    wall = palette.surface("wall", 0.5)
    walls = [wall if palette.chance(0.8) else palette.surface("wall", 0.5) for _ in range(4)]
    floor, ceiling = palette.surface("floor", 0.08, gloss), palette.plain(0.65, 0.95, 0.05)
    if palette.chance(0.12):
        ceiling = palette.tiled("wood" if palette.chance(0.6) else "wall")
    plan.build(palette, walls, floor, ceiling, (palette.uniform(0.7, 2.4), palette.uniform(0.6, 2.2)), thickness)


def furnish(palette: Palette, plan: Plan, kind: str) -> None:
    """Put the furniture of a kind of room into a plan."""
    rng = palette.rng
    area = float(np.prod(plan.high - plan.low))
    full = palette.uniform(0.9, 1.7) * min(1.9, 0.5 + area / 18)
    if kind in ("living", "bedroom", "hall") and palette.chance(0.6):
        _rug(palette, plan)
    if kind == "kitchen":
        _counter(palette, plan)
    recipe = KINDS[kind]
    for role, mean in recipe.along.items():
        for _ in range(int(rng.poisson(mean * full))):
            along_wall(palette, plan, role)
    for role, mean in recipe.about.items():
        for _ in range(int(rng.poisson(mean * full))):
            _about(palette, plan, role)
    for role, mean in (("small", 0.6), ("other", 0.3), ("person", 0.2), ("seat", 0.4), ("plant", 0.3)):
        for _ in range(int(rng.poisson(mean * full))):
            _about(palette, plan, role)
    for _ in range(int(rng.poisson(1.5 if palette.chance(0.3) else 0.3))):
        x, y = rng.uniform(plan.low + 0.3, plan.high - 0.3)
        size = palette.uniform(0.2, 0.9)
        if plan.claim(x, y, size, size, 0.0):
            plain_shape(palette, x, y, 0.0, size)
    if palette.chance(0.12):
        for _ in range(int(rng.integers(1, 4))):
            bar(palette, np.array([*plan.low, 0.2], np.float32), np.array([*plan.high, plan.height], np.float32))
    if palette.chance(0.08):
        for _ in range(int(rng.integers(1, 6))):
            x, y = rng.uniform(plan.low + 0.3, plan.high - 0.3)
            plain_shape(palette, x, y, palette.uniform(0.5, 1.8), palette.uniform(0.1, 0.5), standing=False)
    _on_walls(palette, plan)


def along_wall(palette: Palette, plan: Plan, role: str) -> None:
    """Place a model with its back to a wall, and what goes with it, such as a table in front of a sofa."""
    shape = palette.assets.pick(palette.rng, role)
    if shape is None or shape.size[2] > plan.height:
        return
    width, depth, height = shape.size
    for _ in range(6):
        wall = plan.walls[int(palette.rng.integers(4))]
        middle = wall.find(palette, width, 0.0, height, 1)
        if middle is None:
            continue
        gap = palette.uniform(0.02, 0.08)
        x, y = wall.point(middle, depth / 2 + gap)
        if not plan.claim(x, y, width, depth, wall.angle, 0.02):
            continue
        wall.taken.append((middle - width / 2, middle + width / 2, 0.0, height))
        palette.model(shape, (x, y, 0.0), wall.angle + float(palette.rng.normal(0, 0.03)))
        inward = wall.inward.astype(float)
        if role == "sofa" and palette.chance(0.75):
            reach = depth + palette.uniform(0.35, 0.6)
            _table_before(palette, plan, wall.point(middle, reach + 0.35), wall.angle)
        if role == "desk":
            _seat_before(palette, plan, x + inward[0] * depth * 0.55, y + inward[1] * depth * 0.55, wall.angle)
        if role == "bed":
            _beside(palette, plan, wall.point(middle - width / 2 - 0.3, 0.3), wall.angle)
            _beside(palette, plan, wall.point(middle + width / 2 + 0.3, 0.3), wall.angle)
        if role in ("cabinet", "desk", "low table") and 0.35 < height < 1.5:
            set_table(palette, x, y, height, width, depth, wall.angle, int(palette.rng.integers(0, 5)))
        if role == "cabinet" and palette.chance(0.35):
            _shelf(palette, plan)
        return


def _shelf(palette: Palette, plan: Plan) -> None:
    """Place boards on a wall, or a bookcase, with books."""
    width, depth, boards = palette.uniform(0.5, 1.4), palette.uniform(0.18, 0.32), int(palette.rng.integers(1, 6))
    gap = palette.uniform(0.26, 0.4)
    low = 0.05 if boards > 3 else palette.uniform(0.9, 1.4)
    wall = plan.walls[int(palette.rng.integers(4))]
    middle = wall.find(palette, width, low, low + boards * gap)
    if middle is None:
        return
    x, y = wall.point(middle, depth / 2 + 0.005)
    if low < 0.3 and not plan.claim(x, y, width, depth, wall.angle):
        return
    wall.taken.append((middle - width / 2, middle + width / 2, low, low + boards * gap))
    wood, turn = palette.surface("wood", 0.4), turned(wall.angle)
    for k in range(boards):
        palette.mesh.box((x, y, low + k * gap), (width / 2, depth / 2, 0.011), wood, 0.6, turn)
        books(palette, x, y, low + k * gap + 0.012, width - 0.06, depth, gap - 0.04, wall.angle)
    if boards > 2:
        palette.mesh.box((x, y, low + boards * gap), (width / 2, depth / 2, 0.011), wood, 0.6, turn)
        for side in (-1, 1):
            u = side * width / 2
            at = (x + cos(wall.angle) * u, y + sin(wall.angle) * u, low + boards * gap / 2)
            palette.mesh.box(at, (0.011, depth / 2, boards * gap / 2), wood, 0.6, turn)


def _table_before(palette: Palette, plan: Plan, place: tuple[float, float], angle: float) -> None:
    shape = palette.assets.pick(palette.rng, "low table")
    if shape is not None and plan.claim(*place, shape.size[0], shape.size[1], angle):
        palette.model(shape, (*place, 0.0), angle)
        set_table(palette, *place, shape.size[2], shape.size[0], shape.size[1], angle, int(palette.rng.integers(0, 5)))


def _seat_before(palette: Palette, plan: Plan, x: float, y: float, angle: float) -> None:
    shape = palette.assets.pick(palette.rng, "seat")
    if shape is not None and plan.claim(x, y, shape.size[0] * 0.7, shape.size[1] * 0.5, angle, -0.2):
        palette.model(shape, (x, y, 0.0), angle + pi + float(palette.rng.normal(0, 0.3)))


def _beside(palette: Palette, plan: Plan, place: tuple[float, float], angle: float) -> None:
    shape = palette.assets.pick(palette.rng, "bedside")
    if shape is not None and palette.chance(0.7) and plan.claim(*place, shape.size[0], shape.size[1], angle):
        palette.model(shape, (*place, 0.0), angle)
        lamp = palette.assets.pick(palette.rng, "table lamp", "small")
        if lamp is not None and max(lamp.size[:2]) < 0.5:
            palette.model(lamp, (*place, shape.size[2]), angle)


def _about(palette: Palette, plan: Plan, role: str) -> None:
    """Place a model somewhere on the floor. Tables get seats and things on top."""
    shape = palette.assets.pick(palette.rng, role)
    if shape is None or shape.size[2] > plan.height or max(shape.size) < 0.15:
        return
    loose = role in ("small", "person", "armchair", "seat", "other")
    angle = palette.uniform(0, 2 * pi) if loose else float(palette.rng.integers(4)) * pi / 2
    for _ in range(6):
        x, y = (float(v) for v in palette.rng.uniform(plan.low + 0.3, plan.high - 0.3))
        if plan.claim(x, y, shape.size[0], shape.size[1], angle, 0.35 if role == "table" else 0.08):
            palette.model(shape, (x, y, 0.0), angle)
            if role == "table" or role == "desk":
                table(palette, plan, shape, x, y, angle)
            return


def table(palette: Palette, plan: Plan, shape: Shape, x: float, y: float, angle: float) -> None:
    """Put things on a table, and seats of one kind around it, some of them pushed in."""
    width, depth, height = shape.size
    set_table(palette, x, y, height, width, depth, angle, int(palette.rng.integers(1, 9)))
    seat = palette.assets.pick(palette.rng, "seat")
    if seat is None:
        return
    for side in range(4):
        length, reach = (width, depth / 2) if side % 2 == 0 else (depth, width / 2)
        places = max(1, int(length / 0.75))
        for k in range(places):
            if not palette.chance(0.75):
                continue
            facing = angle + side * pi / 2
            u = (k + 0.5) / places * length - length / 2 + palette.uniform(-0.05, 0.05)
            v = reach + seat.size[1] * palette.uniform(0.05, 0.6)
            px, py = x + cos(facing) * u - sin(facing) * v, y + sin(facing) * u + cos(facing) * v
            if plan.claim(px, py, seat.size[0] * 0.5, seat.size[1] * 0.4, facing, -0.25):
                palette.model(seat, (px, py, 0.0), facing + float(palette.rng.normal(0, 0.2)), change=0.0)


def _rug(palette: Palette, plan: Plan) -> None:
    x, y = (float(v) for v in plan.low + (plan.high - plan.low) * palette.rng.uniform(0.35, 0.65, 2))
    width, depth = (float(v) for v in (plan.high - plan.low) * palette.rng.uniform(0.25, 0.6, 2))
    shape = palette.assets.pick(palette.rng, "rug")
    if shape is not None and palette.chance(0.4) and max(shape.size) > 1:
        palette.model(shape, (x, y, 0.003), float(palette.rng.integers(2)) * pi / 2, palette.uniform(0.9, 1.3))
    else:
        material = palette.tiled("cloth")
        palette.mesh.box((x, y, 0.005), (width / 2, depth / 2, 0.006), material, palette.uniform(0.5, max(width, 0.6)))


def _counter(palette: Palette, plan: Plan) -> None:
    """Place a row of kitchen furniture along a wall, and cabinets above it."""
    wall = max(plan.walls, key=lambda w: w.length * palette.uniform(0.5, 1.0))
    at = palette.uniform(0.0, 0.6)
    material = palette.surface("wood", 0.3)
    while at < wall.length - 0.35:
        shape = palette.assets.pick(palette.rng, "kitchen")
        if shape is None:
            return
        width, depth, height = shape.size
        middle = at + width / 2
        if at + width > wall.length or not wall.free(at, at + width, 0.0, height):
            at += 0.25
            continue
        x, y = wall.point(middle, depth / 2 + 0.01)
        if plan.claim(x, y, width - 0.02, depth, wall.angle):
            wall.taken.append((at, at + width, 0.0, height))
            palette.model(shape, (x, y, 0.0), wall.angle, change=0.3)
            if height < 1.0:
                top = max(height, 0.88)
                palette.mesh.box((x, y, top + 0.02), (width / 2, depth / 2, 0.02), material, 0.8, turned(wall.angle))
                set_table(palette, x, y, top + 0.04, width, depth, wall.angle, int(palette.rng.integers(0, 4)))
        upper = palette.assets.pick(palette.rng, "upper")
        if upper is not None and height < 1.3 and palette.chance(0.6) and upper.size[0] < width + 0.1:
            z = palette.uniform(1.4, 1.55)
            if wall.free(at, at + width, z, z + upper.size[2]):
                ux, uy = wall.point(middle, upper.size[1] / 2)
                wall.taken.append((at, at + width, z, z + upper.size[2]))
                palette.model(upper, (ux, uy, z), wall.angle)
        at += width


def _on_walls(palette: Palette, plan: Plan) -> None:
    """Hang pictures, radiators and other things on the walls."""
    for _ in range(int(palette.rng.poisson(2.2))):
        wall = plan.walls[int(palette.rng.integers(4))]
        width, height = palette.uniform(0.25, 1.3), palette.uniform(0.25, 0.95)
        low = palette.uniform(1.0, max(1.05, min(1.7, plan.height - height - 0.1)))
        middle = wall.find(palette, width + 0.1, low, low + height)
        if middle is None:
            continue
        wall.taken.append((middle - width / 2, middle + width / 2, low, low + height))
        frame, deep = palette.uniform(0.01, 0.06), palette.uniform(0.01, 0.04)
        x, y = wall.point(middle, deep / 2)
        border = palette.surface("wood", 0.6, 0.3)
        half = (width / 2 + frame, deep / 2, height / 2 + frame)
        palette.mesh.box((x, y, low + height / 2), half, border, 0.4, turned(wall.angle))
        start, end = wall.point(middle - width / 2, deep + 0.002), wall.point(middle + width / 2, deep + 0.002)
        image = palette.tiled("picture", palette.uniform(0, 0.6))
        palette.mesh.quad((*start, low), (end[0] - start[0], end[1] - start[1], 0), (0, 0, height), image)
    for role, mean in (("wall", 1.0), ("radiator", 0.5)):
        for _ in range(int(palette.rng.poisson(mean))):
            shape = palette.assets.pick(palette.rng, role)
            if shape is None:
                continue
            low = 0.12 if role == "radiator" else palette.uniform(1.2, 1.9)
            wall = plan.walls[int(palette.rng.integers(4))]
            middle = wall.find(palette, shape.size[0], low, low + shape.size[2])
            if middle is not None:
                wall.taken.append((middle - shape.size[0] / 2, middle + shape.size[0] / 2, low, low + shape.size[2]))
                palette.model(shape, (*wall.point(middle, shape.size[1] / 2 + 0.005), low), wall.angle)


def _lamps(palette: Palette, plan: Plan, needed: bool) -> list[Light]:
    """Place a lamp under the ceiling. Returns its light if it is on. needed: whether it must be on."""
    lights = []
    x, y = (float(v) for v in plan.low + (plan.high - plan.low) * palette.rng.uniform(0.35, 0.65, 2))
    shape = palette.assets.pick(palette.rng, "ceiling") if palette.chance(0.7) else None
    drop = 0.1
    if shape is not None and shape.size[2] < plan.height - 1.7:
        palette.model(shape, (x, y, plan.height - shape.size[2]), 0.0)
        drop = shape.size[2] + 0.08
    if needed or palette.chance(0.4):
        colour = np.array([1.0, palette.uniform(0.82, 1.0), palette.uniform(0.6, 1.0)]) * palette.uniform(1.0, 3.0)
        half = palette.uniform(0.04, 0.3)
        lights.append(Light((x, y, plan.height - drop), ((half, 0, 0), (0, half, 0)), colour))
        if shape is None:
            glow = palette.mesh.material(Material((1.0, 0.95, 0.85), glow=3.0))
            palette.mesh.cylinder((x, y, plan.height - 0.02), (half, half, 0.02), glow, 1.0)
    return lights
