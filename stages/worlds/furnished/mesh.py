"""Collects the triangles and materials of a world: quads, boxes, balls, cylinders and models."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import cos, pi, sin, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stages.worlds.furnished.pack import Shape
from stages.worlds.furnished.vectors import Floats, Integers, cross, length

PLAIN, TILED, PICTURED = -1, 0, 1  # what multiplies a material's colour: nothing, a tile, or a model's picture


@dataclass(frozen=True)
class Material:
    """A material of surfaces.

    colour: [3], linear.  source: PLAIN, TILED or PICTURED.  image: number of the tile or picture.  gloss: 0 to 1.
    glow: emitted light, in units of what a white surface in full light reflects.
    """

    colour: ArrayLike
    source: int = PLAIN
    image: int = 0
    gloss: float = 0.0
    glow: float = 0.0


@dataclass(frozen=True)
class Surfaces:
    """T triangles with K materials.

    vertices: [V, 3], metres.  corners: [T, 3], the vertices of each triangle.
    normals: [T, 3, 3], of the corners.  uv: [T, 3, 2].  material: [T].
    face: [T], number of the side of a thing; light varies smoothly over it.  density: [T], uv units per metre.
    colour: [K, 3], linear.  source, image, gloss, glow: [K], see `Material`.
    """

    vertices: Floats
    corners: Integers
    normals: Floats
    uv: Floats
    material: Integers
    face: Integers
    density: Floats
    colour: Floats
    source: Integers
    image: Integers
    gloss: Floats
    glow: Floats


def turned(angle: float) -> Floats:
    """Rotation about z, [3, 3]."""
    c, s = cos(angle), sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)


CUBE = [  # for each side a corner and the two edges from it; their cross product points outwards
    ((1, -1, -1), (0, 2, 0), (0, 0, 2)),
    ((-1, 1, -1), (0, -2, 0), (0, 0, 2)),
    ((1, 1, -1), (-2, 0, 0), (0, 0, 2)),
    ((-1, -1, -1), (2, 0, 0), (0, 0, 2)),
    ((-1, -1, 1), (2, 0, 0), (0, 2, 0)),
    ((-1, 1, -1), (2, 0, 0), (0, -2, 0)),
]
_SIDES = np.array(CUBE, np.float32)
_CORNERS = np.stack([_SIDES[:, 0], _SIDES[:, 0] + _SIDES[:, 1], _SIDES.sum(1), _SIDES[:, 0] + _SIDES[:, 2]], 1)
_OUTWARDS = np.cross(_SIDES[:, 1], _SIDES[:, 2]) / 4
_EXTENT = np.abs(_SIDES[:, 1:]).argmax(-1)  # the axis of each edge
_UNIT_UV = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)


def two_triangles(count: int = 1) -> Integers:
    """The corners of the triangles that make up quadrilaterals of four vertices each, [2 count, 3]."""
    return (np.array([[0, 1, 2], [0, 2, 3]]) + 4 * np.arange(count)[:, None, None]).reshape(-1, 3)


class Mesh:
    """Collects triangles and materials."""

    def __init__(self) -> None:
        self.materials: list[Material] = []
        self._vertices: list[Floats] = []
        self._corners: list[Integers] = []
        self._count = 0  # of vertices
        self._normals: list[Floats] = []
        self._uv: list[Floats] = []
        self._material: list[Integers] = []
        self._thing: list[Integers] = []
        self._things = 0
        self._group = 0

    @contextmanager
    def one_thing(self) -> Iterator[None]:
        """What is added in a `with` block counts as one thing, such as a curtain of many folds."""
        self._group += 1
        yield
        self._group -= 1
        self._things += self._group == 0

    def material(self, material: Material) -> int:
        """Add a material. Returns its number."""
        self.materials.append(material)
        return len(self.materials) - 1

    def add(self, vertices: Floats, corners: Integers, normals: Floats, uv: Floats, material: Integers) -> None:
        """Add the triangles of one thing. Vertices that they share are stored once, which saves Embree time."""
        self._vertices.append(vertices.astype(np.float32))
        self._corners.append(corners + self._count)
        self._count += len(vertices)
        self._normals.append(normals.astype(np.float32))
        self._uv.append(uv.astype(np.float32))
        self._material.append(material)
        self._thing.append(np.full(len(corners), self._things))
        self._things += self._group == 0

    def quad(
        self,
        corner: ArrayLike,
        e1: ArrayLike,
        e2: ArrayLike,
        material: int,
        tile: float | None = None,
        shift: float = 0.0,
    ) -> None:
        """Add a parallelogram. tile: metres per tile; with None one picture covers it, upright if e2 points up."""
        p, a, b = (np.asarray(v, np.float32) for v in (corner, e1, e2))
        points = np.stack([p, p + a, p + a + b, p + b])
        if tile is None:  # the first row of a picture is its top, and mirrored tiles run backwards from 0 to 1
            uv = np.array([[1, 0], [0, 0], [0, 1], [1, 1]], np.float32)
        else:
            width, height = float(np.linalg.norm(a)) / tile, float(np.linalg.norm(b)) / tile
            uv = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) + np.float32(shift)
        (ax, ay, az), (bx, by, bz) = a.tolist(), b.tolist()
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        normal = np.array([nx, ny, nz], np.float32) / max(sqrt(nx * nx + ny * ny + nz * nz), 1e-12)
        corners = two_triangles()
        self.add(points, corners, np.broadcast_to(normal, (2, 3, 3)), uv[corners], np.full(2, material))

    def quad_at(
        self, corner: ArrayLike, e1: ArrayLike, e2: ArrayLike, material: int, tile: float, origin: tuple[float, float]
    ) -> None:
        """Add a piece of a larger surface, so that the tiles of all pieces meet. origin: its corner there, metres."""
        self.quad(corner, e1, e2, material, tile)
        self._uv[-1] = self._uv[-1] + np.array(origin, np.float32) / np.float32(tile)

    def box(
        self,
        centre: ArrayLike,
        half: ArrayLike,
        material: int,
        tile: float,
        turn: Floats | None = None,
        sides: tuple[int, ...] = (0, 1, 2, 3, 4, 5),
    ) -> None:
        """Add a box, or some of its sides, which are numbered +x -x +y -y +z -z."""
        h = np.asarray(half, np.float32)
        chosen = list(sides)
        turn = np.eye(3, dtype=np.float32) if turn is None else turn
        places, normals = (_CORNERS[chosen] * h) @ turn.T, _OUTWARDS[chosen] @ turn.T
        uv = _UNIT_UV * (2 * h[_EXTENT[chosen]])[:, None] / np.float32(tile) + np.float32(0.37 * self._things)
        points = places + np.asarray(centre, np.float32)
        count, corners = 2 * len(chosen), two_triangles(len(chosen))
        self.add(
            points.reshape(-1, 3),
            corners,
            np.repeat(normals, 6, 0).reshape(count, 3, 3),
            uv.reshape(-1, 2)[corners],
            np.full(count, material),
        )

    def ball(self, centre: ArrayLike, half: ArrayLike, material: int, tile: float, turn: Floats | None = None) -> None:
        """Add an ellipsoid of 16 x 10 quads."""
        profile = np.stack([np.sin(np.linspace(0, pi, 11)), -np.cos(np.linspace(0, pi, 11))], 1)
        self._turned_profile(profile, profile, centre, half, material, tile, turn)

    def cylinder(
        self,
        centre: ArrayLike,
        half: ArrayLike,
        material: int,
        tile: float,
        turn: Floats | None = None,
        top: float = 1.0,
    ) -> None:
        """Add a closed cylinder of 16 sides. top: its upper radius divided by its lower one."""
        profile = np.array([[0, -1], [1, -1], [1, -1], [top, 1], [top, 1], [0, 1]], float)
        normals = np.array([[0, -1], [0, -1], [1, 0], [1, 0], [0, 1], [0, 1]], float)
        self._turned_profile(profile, normals, centre, half, material, tile, turn)

    def _turned_profile(
        self,
        profile: NDArray[np.float64],
        normals: NDArray[np.float64],
        centre: ArrayLike,
        half: ArrayLike,
        material: int,
        tile: float,
        turn: Floats | None,
    ) -> None:
        turn = np.eye(3, dtype=np.float32) if turn is None else turn
        around = np.linspace(0, 2 * pi, 17)
        ring = np.stack([np.cos(around), np.sin(around)], 1)
        h = np.asarray(half, float)
        local, out = (
            np.concatenate([rows[:, None, :1] * ring, np.broadcast_to(rows[:, None, 1:], (len(rows), 17, 1))], -1)
            for rows in (profile, normals)
        )
        out = out / h
        out /= np.maximum(np.linalg.norm(out, axis=-1, keepdims=True), 1e-9)
        uv = (
            np.stack(np.broadcast_arrays(around[None] * h[0], np.arange(len(profile))[:, None] * 0.6 * h[2]), -1) / tile
        )
        r, k = np.meshgrid(np.arange(len(profile) - 1), np.arange(16), indexing="ij")
        a, b, c, d = ((r + i) * 17 + k + j for i, j in ((0, 0), (0, 1), (1, 1), (1, 0)))
        index = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
        points = (local * h).reshape(-1, 3) @ turn.T + np.asarray(centre, float)
        triangles = points[index]
        solid = length(cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])) > 1e-12
        index = index[solid]
        self.add(
            points, index, (out.reshape(-1, 3) @ turn.T)[index], uv.reshape(-1, 2)[index], np.full(len(index), material)
        )

    def place(
        self,
        shape: Shape,
        position: ArrayLike,
        angle: float,
        scale: float,
        materials: dict[int, tuple[int, float | None]],
    ) -> None:
        """Add a model that stands at `position`, turned by `angle` about z.

        materials: material of the model -> its number here, and metres per tile if a tile replaces its own picture.
        """
        turn = turned(angle)
        uv, numbers = shape.uv, np.empty(len(shape.material), np.int64)
        for old, (new, tile) in materials.items():
            mask = shape.material == old
            numbers[mask] = new
            if tile is not None:
                uv = uv.copy() if uv is shape.uv else uv
                uv[mask] = _flat_uv(shape.vertices[shape.corners[mask]]) / tile
        vertices = (shape.vertices * np.float32(scale)) @ turn.T + np.asarray(position, np.float32)
        self.add(vertices, shape.corners, shape.normals @ turn.T, uv, numbers)

    def finish(self) -> Surfaces:
        """Everything that was added."""
        vertices, corners = np.concatenate(self._vertices), np.concatenate(self._corners)
        uv, material = np.concatenate(self._uv), np.concatenate(self._material)
        triangles = vertices.take(corners, 0)
        area = cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
        axis = np.abs(area).argmax(1)
        negative = np.take_along_axis(area, axis[:, None], 1)[:, 0] < 0
        d1, d2 = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
        ratio = np.abs(d1[:, 0] * d2[:, 1] - d1[:, 1] * d2[:, 0]) / np.maximum(length(area), 1e-10)
        m = self.materials
        return Surfaces(
            vertices,
            corners,
            np.concatenate(self._normals),
            uv,
            material,
            np.concatenate(self._thing) * 6 + axis * 2 + negative,
            np.sqrt(ratio).astype(np.float32),
            np.array([x.colour for x in m], np.float32),
            np.array([x.source for x in m], np.int64),
            np.array([x.image for x in m], np.int64),
            np.array([x.gloss for x in m], np.float32),
            np.array([x.glow for x in m], np.float32),
        )


def _flat_uv(triangles: Floats) -> Floats:
    """Texture coordinates [T, 3, 2] in metres: triangles are projected along the axis nearest to their normal."""
    area = cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    axes = np.array([[1, 2], [0, 2], [0, 1]])[np.abs(area).argmax(1)]
    return np.take_along_axis(triangles, axes[:, None, :].repeat(3, 1), 2)
