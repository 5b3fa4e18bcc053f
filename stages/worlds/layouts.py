"""The contents of a world: a furnished room, a corridor, a table-top or an open place with facades.

The numbers are sizes in metres and probabilities, chosen by hand to look plausible.
"""

from dataclasses import dataclass
from math import cos, pi, sin

import torch
from torch import Generator, Tensor

from stages.geometry import rotations
from stages.worlds.primitives import BALL, BOX, CYLINDER, Primitives


@dataclass(frozen=True, eq=False)
class World:
    """A shell seen from inside, the objects in it, and its lamps. Metres, z up, floor at z = 0.

    shell: one box.  things: one Primitives per kind.  lamps: [L, 3], positions.  lamp_power: [L].
    ambient: light from all sides, 0 to 1.
    """

    shell: Primitives
    things: list[Primitives]
    lamps: Tensor
    lamp_power: Tensor
    ambient: float


class _Builder:
    """Collects primitives. All random numbers come from one generator, so a seed gives a world."""

    def __init__(self, generator: Generator, texture_count: int) -> None:
        self.generator, self.texture_count = generator, texture_count
        Row = tuple[Tensor, Tensor, Tensor, Tensor, float, Tensor]
        self.rows: dict[int, list[Row]] = {BOX: [], BALL: [], CYLINDER: []}

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def integer(self, low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def chance(self, probability: float) -> bool:
        return self.uniform(0, 1) < probability

    def tiles(self, same: bool = True) -> Tensor:
        tile = torch.randint(self.texture_count, (1 if same else 6,), generator=self.generator)
        return tile.expand(6)

    def tint(self) -> Tensor:
        return 1 - 0.25 * torch.rand(3, generator=self.generator)

    def add(
        self,
        kind: int,
        centre: tuple[float, float, float],
        half: tuple[float, float, float],
        rotation: Tensor | None = None,
        texture: Tensor | None = None,
        tile_size: float | None = None,
    ) -> None:
        rotation = torch.eye(3) if rotation is None else rotation
        texture = self.tiles(self.chance(0.6)) if texture is None else texture
        tile_size = self.uniform(0.25, 1.6) if tile_size is None else tile_size
        sizes = torch.tensor(half).clamp_min(0.004)
        self.rows[kind].append((rotation, torch.tensor(centre), sizes, texture, tile_size, self.tint()))

    def build(self, kind: int) -> Primitives:
        columns = (torch.stack([torch.as_tensor(x) for x in column]) for column in zip(*self.rows[kind], strict=True))
        return Primitives(kind, *columns)


def yaw(angle: float) -> Tensor:
    """Rotation about the vertical axis, [3, 3]."""
    c, s = cos(angle), sin(angle)
    return torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def random_rotation(generator: Generator) -> Tensor:
    """A uniformly random rotation, [3, 3]."""
    return rotations(torch.randn(4, generator=generator))


def make_world(generator: Generator, texture_count: int) -> World:
    """A random world: 55 % furnished rooms, 15 % corridors, 15 % table-tops, 15 % open places."""
    # Choose the style and the size of the shell.
    b = _Builder(generator, texture_count)
    style = b.uniform(0, 1)
    if style < 0.55:
        size = (b.uniform(1.5, 4.5), b.uniform(1.5, 4.5), b.uniform(1.15, 1.8))
    elif style < 0.7:
        size = (b.uniform(0.8, 1.6), b.uniform(3.0, 8.0), b.uniform(1.2, 1.8))
    elif style < 0.85:
        size = (b.uniform(1.2, 2.2), b.uniform(1.2, 2.2), b.uniform(1.1, 1.5))
    else:
        size = (b.uniform(12, 25), b.uniform(12, 25), b.uniform(8, 15))
    outdoors, table_top = style >= 0.85, 0.7 <= style < 0.85
    scale = 3.0 if outdoors else 1.0

    # Fill it with furniture, pictures and clutter.
    shell = _shell(b, size)
    for _ in range(b.integer(2, 5) if outdoors else b.integer(0, 2)):
        _facade(b, size, scale)
    for _ in range(b.integer(1, 3) if table_top else b.integer(3, 9)):
        x, y = b.uniform(-size[0], size[0]) * 0.9, b.uniform(-size[1], size[1]) * 0.9
        _compound(b, x, y, scale)
    if table_top:
        _table(b, b.uniform(-0.3, 0.3), b.uniform(-0.3, 0.3), 1.0, clutter=b.integer(5, 14))
    if not outdoors:
        for _ in range(b.integer(0, 5)):
            _picture(b, size)
    for _ in range(b.integer(4, 14)):
        x, y = b.uniform(-size[0], size[0]) * 0.9, b.uniform(-size[1], size[1]) * 0.9
        _clutter(b, x, y, b.uniform(0, size[2]), scale)
    for _ in range(b.integer(0, 4)):
        _bar(b, size)
    # Each kind of primitive must occur at least once.
    for kind in (BOX, BALL, CYLINDER):
        if not b.rows[kind]:
            _clutter(b, b.uniform(-1, 1), b.uniform(-1, 1), 0.1, scale, kind)

    # Hang up the lamps.
    count = b.integer(1, 3)
    centre = torch.tensor([0, 0, size[2]])
    lamps = (torch.rand(count, 3, generator=generator) * 2 - 1) * torch.tensor(size) * 0.9 + centre
    power = torch.rand(count, generator=generator) * 0.6 + 0.2
    return World(shell, [b.build(k) for k in (BOX, BALL, CYLINDER)], lamps, power, b.uniform(0.35, 0.75))


def _shell(b: _Builder, size: tuple[float, float, float]) -> Primitives:
    wall = b.tiles()
    texture = b.tiles(same=False).clone()
    if b.chance(0.7):
        texture[:4] = wall[0]
    centre, half = torch.tensor([[0.0, 0.0, size[2]]]), torch.tensor([size])
    tile_size = torch.tensor([b.uniform(0.5, 2.5) * (3.0 if size[0] > 10 else 1.0)])
    return Primitives(BOX, torch.eye(3)[None], centre, half, texture[None], tile_size, b.tint()[None])


def _facade(b: _Builder, size: tuple[float, float, float], scale: float) -> None:
    x, y = b.uniform(-size[0], size[0]), b.uniform(-size[1], size[1])
    height = b.uniform(0.6, 1.0) * size[2]
    half = (b.uniform(0.15, 1.0) * scale, b.uniform(0.3, 1.6) * scale, height)
    turn = yaw(b.integer(0, 3) * pi / 2 + b.uniform(-0.1, 0.1))
    b.add(BOX, (x, y, height), half, turn, tile_size=b.uniform(0.8, 2.5) * scale)


def _compound(b: _Builder, x: float, y: float, scale: float) -> None:
    pick = b.integer(0, 4)
    if pick == 0:
        _table(b, x, y, scale, clutter=b.integer(0, 5))
    elif pick == 1:
        _shelf(b, x, y, scale)
    elif pick == 2:
        _seat(b, x, y, scale)
    elif pick == 3:
        height = b.uniform(0.2, 1.1) * scale
        half = (b.uniform(0.15, 0.7) * scale, b.uniform(0.15, 0.7) * scale, height)
        b.add(BOX, (x, y, height), half, yaw(b.uniform(0, 2 * pi)))
    else:
        height = b.uniform(0.3, 1.4) * scale
        radius = b.uniform(0.05, 0.4) * scale
        b.add(CYLINDER, (x, y, height), (radius, radius, height))


def _table(b: _Builder, x: float, y: float, scale: float, clutter: int) -> None:
    turn, height = yaw(b.uniform(0, 2 * pi)), b.uniform(0.4, 0.8) * scale
    half = torch.tensor([b.uniform(0.3, 0.8), b.uniform(0.25, 0.6), 0.02]) * scale
    wood = b.tiles()
    b.add(BOX, (x, y, height), tuple(half.tolist()), turn, wood)
    leg = b.uniform(0.012, 0.05) * scale
    for sx in (-0.9, 0.9):
        for sy in (-0.9, 0.9):
            dx, dy, _ = (turn @ torch.tensor([sx * half[0], sy * half[1], 0.0])).tolist()
            b.add(BOX if b.chance(0.5) else CYLINDER, (x + dx, y + dy, height / 2), (leg, leg, height / 2), turn, wood)
    for _ in range(clutter):
        dx, dy, _ = (turn @ (torch.tensor([b.uniform(-0.9, 0.9), b.uniform(-0.9, 0.9), 0.0]) * half)).tolist()
        _clutter(b, x + dx, y + dy, height + 0.08 * scale, scale * 0.6)


def _shelf(b: _Builder, x: float, y: float, scale: float) -> None:
    turn, wood = yaw(b.uniform(0, 2 * pi)), b.tiles()
    width = b.uniform(0.3, 0.8) * scale
    depth = b.uniform(0.12, 0.25) * scale
    boards = b.integer(2, 4)
    gap = b.uniform(0.25, 0.45) * scale
    for side in (-1.0, 1.0):
        dx, dy, _ = (turn @ torch.tensor([side * width, 0.0, 0.0])).tolist()
        b.add(BOX, (x + dx, y + dy, boards * gap / 2), (0.015 * scale, depth, boards * gap / 2), turn, wood)
    for level in range(boards):
        b.add(BOX, (x, y, (level + 0.1) * gap), (width, depth, 0.015 * scale), turn, wood)
        for _ in range(b.integer(0, 4)):
            offset = torch.tensor([b.uniform(-0.9, 0.9) * width, b.uniform(-0.5, 0.5) * depth, 0.0])
            dx, dy, _ = (turn @ offset).tolist()
            half = (b.uniform(0.015, 0.1) * scale, b.uniform(0.04, 0.12) * scale, b.uniform(0.06, 0.16) * scale)
            centre = (x + dx, y + dy, (level + 0.12) * gap + half[2])
            b.add(BOX, centre, half, turn, tile_size=b.uniform(0.1, 0.5) * scale)


def _seat(b: _Builder, x: float, y: float, scale: float) -> None:
    turn, cloth = yaw(b.uniform(0, 2 * pi)), b.tiles()
    half, height = b.uniform(0.22, 0.5) * scale, b.uniform(0.18, 0.25) * scale
    b.add(BOX, (x, y, height), (half, half, height * b.uniform(0.1, 1.0)), turn, cloth)
    dx, dy, _ = (turn @ torch.tensor([0.0, half, 0.0])).tolist()
    b.add(BOX, (x + dx, y + dy, 2 * height), (half, 0.05 * scale, b.uniform(1.0, 2.0) * height), turn, cloth)


def _picture(b: _Builder, size: tuple[float, float, float]) -> None:
    wall, side = b.integer(0, 1), b.integer(0, 1) * 2 - 1
    half = [b.uniform(0.15, 0.8), b.uniform(0.15, 0.8), b.uniform(0.1, 0.6)]
    half[wall] = b.uniform(0.008, 0.06)
    centre = [b.uniform(-0.8, 0.8) * size[0], b.uniform(-0.8, 0.8) * size[1], b.uniform(0.4, 1.6) * size[2]]
    centre[wall] = side * size[wall]
    b.add(BOX, (centre[0], centre[1], centre[2]), (half[0], half[1], half[2]), tile_size=b.uniform(0.4, 1.5))


def _clutter(b: _Builder, x: float, y: float, z: float, scale: float, kind: int | None = None) -> None:
    half = (b.uniform(0.03, 0.25) * scale, b.uniform(0.03, 0.25) * scale, b.uniform(0.03, 0.25) * scale)
    turn = yaw(b.uniform(0, 2 * pi)) if b.chance(0.6) else random_rotation(b.generator)
    b.add(b.integer(0, 2) if kind is None else kind, (x, y, z), half, turn, tile_size=b.uniform(0.1, 0.8) * scale)


def _bar(b: _Builder, size: tuple[float, float, float]) -> None:
    half = [b.uniform(0.008, 0.03)] * 3
    half[b.integer(0, 2)] = b.uniform(0.3, 2.0)
    centre = [b.uniform(-0.8, 0.8) * s for s in size]
    b.add(BOX, (centre[0], centre[1], centre[2] + size[2]), (half[0], half[1], half[2]), yaw(b.uniform(0, 2 * pi)))
