"""The plan of a rectangular room: walls with their openings, and the free floor."""

from dataclasses import dataclass, field
from itertools import pairwise
from math import atan2, cos, pi, sin

import numpy as np

from stages.worlds.furnished.palette import Palette
from stages.worlds.furnished.vectors import Floats


@dataclass
class Wall:
    """A wall, seen from inside.

    start: [2], its first end.  along, inward: [2], unit vectors.  length, height: metres.
    taken: rectangles (from, to, low, high) along the wall and upwards that openings, pictures and furniture take.
    openings: those that doorways and windows cut out of the wall.
    """

    start: Floats
    along: Floats
    inward: Floats
    length: float
    height: float
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)
    openings: list[tuple[float, float, float, float]] = field(default_factory=list)

    def point(self, distance: float, off: float = 0.0) -> tuple[float, float]:
        """The point `distance` metres along the wall and `off` metres away from it."""
        x, y = self.start + self.along * distance + self.inward * off
        return float(x), float(y)

    @property
    def angle(self) -> float:
        """Angle about z of a model whose back is at the wall. Its front, -y, then faces the room."""
        return atan2(float(self.inward[1]), float(self.inward[0])) + pi / 2

    def find(self, palette: Palette, width: float, low: float, high: float, tries: int = 8) -> float | None:
        """The middle of a random free stretch of `width` metres between two heights, or None."""
        if width > self.length - 0.05 or high > self.height:
            return None
        for _ in range(tries):
            middle = palette.uniform(width / 2, self.length - width / 2)
            if self.free(middle - width / 2, middle + width / 2, low, high):
                return middle
        return None

    def free(self, first: float, last: float, low: float, high: float) -> bool:
        """Whether a stretch of the wall between two heights is free."""
        return all(last <= a or first >= b or high <= c or low >= d for a, b, c, d in self.taken)


class Plan:
    """A room between (x0, y0) and (x1, y1), metres. Its walls are at +x, +y, -x, -y, in this order."""

    def __init__(self, x0: float, y0: float, x1: float, y1: float, height: float) -> None:
        self.low, self.high, self.height = np.array([x0, y0]), np.array([x1, y1]), height
        corners = [((x1, y0), (0, 1), (-1, 0), y1 - y0), ((x1, y1), (-1, 0), (0, -1), x1 - x0)]
        corners += [((x0, y1), (0, -1), (1, 0), y1 - y0), ((x0, y0), (1, 0), (0, 1), x1 - x0)]
        as_array = lambda v: np.array(v, np.float32)  # noqa: E731
        self.walls = [Wall(as_array(s), as_array(a), as_array(n), length, height) for s, a, n, length in corners]
        self.footprints: list[tuple[float, float, float, float]] = []

    def claim(self, x: float, y: float, width: float, depth: float, angle: float, gap: float = 0.0) -> bool:
        """Take a place on the floor, turned by `angle`. Returns whether it was free. width, depth, gap: metres."""
        c, s = abs(cos(angle)), abs(sin(angle))
        hx, hy = (c * width + s * depth) / 2, (s * width + c * depth) / 2
        box = (x - hx, y - hy, x + hx, y + hy)
        if (
            box[0] < self.low[0] - 0.01
            or box[1] < self.low[1] - 0.01
            or box[2] > self.high[0] + 0.01
            or box[3] > self.high[1] + 0.01
        ):
            return False
        if any(
            box[2] + gap > a and box[0] - gap < c2 and box[3] + gap > b and box[1] - gap < d
            for a, b, c2, d in self.footprints
        ):
            return False
        self.footprints.append(box)
        return True

    def build(
        self, palette: Palette, wall: list[int], floor: int, ceiling: int, tile: tuple[float, float], thickness: float
    ) -> None:
        """Add the floor, the ceiling, and the walls with their openings to the mesh.

        wall: material of each wall.  tile: metres per tile of walls and floor.  thickness: of the walls, metres.
        """
        with palette.mesh.one_thing():
            self._build(palette, wall, floor, ceiling, tile, thickness)

    def _build(
        self, palette: Palette, wall: list[int], floor: int, ceiling: int, tile: tuple[float, float], thickness: float
    ) -> None:
        mesh = palette.mesh
        (x0, y0), (x1, y1), h = self.low, self.high, self.height
        mesh.quad((x0, y0, 0), (x1 - x0, 0, 0), (0, y1 - y0, 0), floor, tile[1])
        mesh.quad((x0, y1, h), (x1 - x0, 0, 0), (0, y0 - y1, 0), ceiling, 1.5)
        skirting = palette.plain(0.5, 0.9, 0.1) if palette.chance(0.7) else None
        for side, number in zip(self.walls, wall, strict=True):
            xs = sorted({0.0, side.length, *(v for a, b, _, _ in side.openings for v in (a, b))})
            zs = sorted({0.0, h, *(v for _, _, c, d in side.openings for v in (c, d))})
            for a, b in pairwise(xs):
                for c, d in pairwise(zs):
                    if any(p <= a and b <= q and r <= c and d <= s for p, q, r, s in side.openings):
                        continue
                    start, end = side.point(a), side.point(b)
                    corner = (*start, c)
                    mesh.quad_at(
                        corner, (end[0] - start[0], end[1] - start[1], 0), (0, 0, d - c), number, tile[0], (a, c)
                    )
            if skirting is not None:
                edges = sorted([(a, b) for a, b, c, _ in side.openings if c < 0.05])
                stops = [0.0, *(v for pair in edges for v in pair), side.length]
                for a, b in zip(stops[::2], stops[1::2], strict=True):
                    (px, py), (qx, qy) = side.point(a, 0.015), side.point(b, 0.015)
                    mesh.quad((px, py, 0), (qx - px, qy - py, 0), (0, 0, 0.09), skirting, 1.0)
            for a, b, c, d in side.openings:
                back = -side.inward * thickness
                out = (float(back[0]), float(back[1]), 0.0)
                (px, py), (qx, qy) = side.point(a), side.point(b)
                across = (qx - px, qy - py, 0.0)
                mesh.quad((px, py, c), out, (0, 0, d - c), number, tile[0])
                mesh.quad((qx, qy, c), out, (0, 0, d - c), number, tile[0])
                mesh.quad((px, py, d), across, out, number, tile[0])
                mesh.quad((px, py, c), across, out, floor if c < 0.05 else number, tile[0])
