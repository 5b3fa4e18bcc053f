"""Open places: streets between facades, gardens and squares, with trees, cars and street furniture on uneven ground."""

from math import pi

import numpy as np

from stages.worlds.furnished.clutter import plain_shape
from stages.worlds.furnished.lighting import Light
from stages.worlds.furnished.mesh import turned
from stages.worlds.furnished.palette import Palette
from stages.worlds.furnished.trees import tree
from stages.worlds.furnished.vectors import Floats, Integers

REACH = 120.0  # metres of ground around the middle
# What stands there: role, mean number, smallest and largest distance from the middle as a share of that of the facades,
# and whether it is turned along the street.
IN_STREETS = [
    ("tree", 5.0, 0.55, 1.3, False),
    ("hedge", 2.0, 0.6, 1.0, False),
    ("street", 6.0, 0.55, 0.95, True),
    ("person", 1.0, 0.1, 0.9, False),
    ("vehicle", 4.0, 0.35, 0.62, True),
    ("cycle", 0.8, 0.5, 0.9, True),
    ("fence", 1.5, 0.6, 0.95, True),
    ("plant", 1.0, 0.6, 1.0, False),
]
IN_GARDENS = [
    ("tree", 5.0, 0.3, 1.4, False),
    ("hedge", 4.0, 0.5, 1.1, True),
    ("garden", 6.0, 0.0, 0.9, False),
    ("plant", 2.0, 0.1, 1.0, False),
    ("seat", 1.5, 0.0, 0.7, False),
    ("table", 1.0, 0.0, 0.6, False),
    ("fence", 3.0, 0.7, 1.0, True),
    ("person", 0.8, 0.0, 0.8, False),
    ("street", 1.0, 0.3, 0.9, False),
    ("vehicle", 0.4, 0.5, 1.0, False),
    ("cycle", 0.5, 0.2, 0.9, False),
]


def make_street(palette: Palette) -> tuple[list[Light], Floats, Floats]:
    """A street, a square or a garden along y. Returns its lights, `World.stand` and `World.aim`."""
    garden = palette.chance(0.4)
    half = palette.uniform(4.0, 11.0) if garden else palette.uniform(3.5, 10.0)  # from the middle to the facades
    length = palette.uniform(12.0, 30.0) if garden else palette.uniform(25.0, 90.0)
    _ground(palette, "grass" if garden else "ground", palette.uniform(0.02, 0.18) if garden else 0.03)
    if not garden:
        road = palette.uniform(0.4, 0.75) * half
        palette.mesh.quad(
            (-road, -REACH, 0.06),
            (2 * road, 0, 0),
            (0, 2 * REACH, 0),
            palette.plain(0.06, 0.35, 0.1) if palette.chance(0.2) else palette.tiled("road", bright=(0.15, 0.5)),
            palette.uniform(2, 6),
        )
        walk = palette.surface("road", 0.1)
        for side in (-1, 1):
            palette.mesh.box(
                (side * (road + half) / 2, 0, 0.08), ((half - road) / 2, REACH, 0.1), walk, palette.uniform(0.8, 2.5)
            )
        if palette.chance(0.5):
            paint = palette.plain(0.75, 0.95, 0.05)
            for y in np.arange(-REACH / 2, REACH / 2, 4.0):
                palette.mesh.quad((-0.08, y, 0.066), (0.16, 0, 0), (0, 2.0, 0), paint, 1.0)
    # A row of houses on each side.
    for side in (-1, 1):
        if not palette.chance(0.85):
            continue
        y = -length / 2
        while y < length / 2:
            width = palette.uniform(5.0, 16.0)
            if palette.chance(0.85):
                _house(palette, side * (half + palette.uniform(0.0, 1.5)), y, width, side)
            y += width + (palette.uniform(0, 4) if palette.chance(0.35) else 0.0)
    if palette.chance(0.5):
        _house_across(palette, half, length / 2)
    _things(palette, half, length, garden)
    lights, low = _daylight(palette), -length / 3
    stand = np.array([[-half * 0.7, low, 1.0], [half * 0.7, -low * 0.2, 1.9]], np.float32)
    aim = np.array([[-half * 0.9, low * 0.6, 0.3], [half * 0.9, length / 2, 2.6]], np.float32)
    return lights, stand, aim


def _daylight(palette: Palette) -> list[Light]:
    """The sun, unless the day is grey."""
    if palette.chance(0.3):
        return []
    towards = np.array([palette.rng.normal(), palette.rng.normal(), palette.uniform(0.45, 2.0)])
    towards /= np.linalg.norm(towards)
    far = 300.0
    colour = np.array([1.0, palette.uniform(0.88, 0.98), palette.uniform(0.7, 0.95)]) * palette.uniform(0.9, 2.0)
    side = np.cross(towards, (0.3, 0.5, 0.8))
    spread = np.stack([side, np.cross(side, towards)]) * palette.uniform(0.8, 4.0)
    return [Light(towards * far, spread, colour * far**2)]


def _ground(palette: Palette, kind: str, rough: float) -> None:
    """Uneven ground: a grid of heights, finer near the middle."""
    ticks = np.sign(np.linspace(-1, 1, 41)) * np.abs(np.linspace(-1, 1, 41)) ** 2.2 * REACH
    x, y = np.meshgrid(ticks, ticks, indexing="ij")
    phases = palette.rng.uniform(0, 2 * pi, (4, 2))
    lengths = palette.rng.uniform(2.0, 14.0, (4, 2))
    height = (
        sum(np.sin(x / a[0] + p[0]) * np.cos(y / a[1] + p[1]) for a, p in zip(lengths, phases, strict=True)) * rough / 2
    )
    points = np.stack([x, y, height - (0.0 if rough > 0.05 else 0.05)], -1).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(40), np.arange(40), indexing="ij")
    a = (i * 41 + j).reshape(-1)
    index: Integers = np.concatenate([np.stack([a, a + 41, a + 42], -1), np.stack([a, a + 42, a + 1], -1)])
    slope = np.stack(np.gradient(height, ticks, ticks), -1)
    normals = np.concatenate([-slope, np.ones((41, 41, 1))], -1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    tile = palette.uniform(1.2, 4.0)
    uv = points[:, :2] / tile
    material = np.full(len(index), palette.surface(kind, 0.05))
    palette.mesh.add(points, index, normals.reshape(-1, 3)[index], uv[index], material)


def _house(palette: Palette, x: float, y: float, width: float, side: int) -> None:
    """A house whose front is at x and begins at y. side: -1 left, 1 right of the street."""
    with palette.mesh.one_thing():
        _front(palette, x, y, width, side)


def _front(palette: Palette, x: float, y: float, width: float, side: int) -> None:
    depth, storey = palette.uniform(5.0, 11.0), palette.uniform(2.7, 3.6)
    storeys = int(palette.rng.integers(1, 6))
    height = storeys * storey + palette.uniform(0.2, 1.0)
    wall, tile = palette.surface("facade", 0.3), palette.uniform(1.2, 4.0)
    mesh = palette.mesh
    mesh.box((x + side * depth / 2, y + width / 2, height / 2), (depth / 2, width / 2, height / 2), wall, tile)
    if palette.chance(0.5):  # a gabled roof
        rise, roof = palette.uniform(1.0, 3.5), palette.surface("wall" if palette.chance(0.5) else "any", 0.4)
        over = 0.4
        x0, x1 = x - side * over, x + side * (depth + over)
        mesh.quad((x0, y, height), (0, width, 0), ((x1 - x0) / 2, 0, rise), roof, palette.uniform(1.0, 3.0))
        mesh.quad((x1, y, height), (0, width, 0), ((x0 - x1) / 2, 0, rise), roof, palette.uniform(1.0, 3.0))
    # Windows on every floor, and one door.
    glass = palette.plain(0.02, 0.2, 0.2, 0.9) if palette.chance(0.7) else palette.tiled("picture", 0.8)
    frame, trim = palette.plain(0.5, 0.95, 0.2), palette.chance(0.6)
    w, h = palette.uniform(0.8, 1.7), palette.uniform(1.1, 1.9)
    count = max(1, int(width / palette.uniform(2.0, 3.6)))
    front, door = x - side * 0.02, int(palette.rng.integers(count))
    for level in range(storeys):
        for k in range(count):
            middle = y + (k + 0.5) * width / count
            if level == 0 and k == door:
                shape = palette.assets.pick(palette.rng, "door")
                if shape is not None:
                    palette.model(shape, (x - side * 0.03, middle, 0.18), -side * pi / 2)
                continue
            z = level * storey + 0.95
            if level == 0 and palette.chance(0.1):
                continue
            if trim:
                mesh.box((x, middle, z + h / 2), (0.07, w / 2 + 0.09, h / 2 + 0.09), frame, 1.0)
            mesh.box((front, middle, z + h / 2), (0.06, w / 2, h / 2), glass, max(w, h))
            mesh.box((x - side * 0.09, middle, z + h / 2), (0.02, 0.025, h / 2), frame, 1.0)
            if trim and palette.chance(0.5):
                mesh.box((x - side * 0.12, middle, z - 0.06), (0.12, w / 2 + 0.12, 0.04), frame, 1.0)
    if palette.chance(0.3):  # balconies
        for level in range(1, storeys):
            z = level * storey + 0.2
            mesh.box((x - side * 0.6, y + width / 2, z), (0.6, width * 0.3, 0.08), wall, tile)
            mesh.box((x - side * 1.18, y + width / 2, z + 0.5), (0.02, width * 0.3, 0.45), frame, 1.0)


def _house_across(palette: Palette, half: float, y: float) -> None:
    """A house that closes the street."""
    height, wall = palette.uniform(4.0, 14.0), palette.surface("facade", 0.2)
    palette.mesh.box((0, y + 4, height / 2), (half * 1.6, 4, height / 2), wall, palette.uniform(1.5, 4.0))
    glass = palette.plain(0.02, 0.2, 0.2, 0.9)
    for z in np.arange(1.0, height - 1.6, 3.0):
        for x in np.arange(-half * 1.4, half * 1.4, 2.6):
            palette.mesh.box((x, y, z + 0.7), (0.5, 0.04, 0.7), glass, 1.0)


def _things(palette: Palette, half: float, length: float, garden: bool) -> None:
    """Place the models of IN_GARDENS or IN_STREETS, and some plain shapes."""
    taken: list[tuple[float, float, float]] = []
    for role, mean, near, far, along in IN_GARDENS if garden else IN_STREETS:
        for _ in range(int(palette.rng.poisson(mean))):
            shape = palette.assets.pick(palette.rng, role)
            if shape is None:
                continue
            side = 1 if palette.chance(0.5) else -1
            x = side * palette.uniform(near, far) * half
            y = palette.uniform(-0.5, 0.5) ** 3 * 4 * length + palette.uniform(-2, 8)
            radius = 0.6 if role == "tree" else max(shape.size[:2]) / 2
            if any((x - a) ** 2 + (y - b) ** 2 < (r + radius) ** 2 for a, b, r in taken):
                continue
            taken.append((x, y, radius))
            angle = (pi / 2 if along else palette.uniform(0, 2 * pi)) + float(palette.rng.normal(0, 0.05))
            if role == "vehicle":
                angle = 0.0 if shape.size[1] > shape.size[0] else pi / 2
                angle += pi * float(palette.rng.integers(2)) + float(palette.rng.normal(0, 0.03))
            if role == "tree" and palette.chance(0.7):
                tree(palette, x, y)
                continue
            scale = 1.0 if role == "vehicle" else palette.uniform(0.85, 1.2)
            palette.model(shape, (x, y, -0.02 if garden else 0.06), angle, scale)
    for _ in range(int(palette.rng.poisson(1.5))):
        plain_shape(palette, palette.uniform(-1, 1) * half, palette.uniform(-2, 12), 0.05, palette.uniform(0.3, 1.6))
    if palette.chance(0.25):  # a low wall
        x = palette.uniform(-0.8, 0.8) * half
        high = palette.uniform(0.3, 0.9)
        turn = turned(palette.uniform(-0.1, 0.1) + (0 if palette.chance(0.6) else pi / 2))
        stone, half_size = palette.surface("facade", 0.1), (0.15, palette.uniform(1.5, 6), high)
        palette.mesh.box((x, palette.uniform(3, 12), high), half_size, stone, 1.4, turn)
