"""Trees: a trunk, branches, and crowns of many leaves with gaps between."""

from math import cos, pi, sin

import numpy as np

from stages.worlds.furnished.mesh import Material, two_triangles
from stages.worlds.furnished.palette import Palette
from stages.worlds.furnished.vectors import Floats, cross, unit


def tree(palette: Palette, x: float, y: float) -> None:
    """A tree, 2.5 to 11 metres high, at (x, y), or a bush without a trunk."""
    rng, mesh = palette.rng, palette.mesh
    height = palette.uniform(2.5, 11.0)
    bush = palette.chance(0.2)
    trunk = 0.0 if bush else palette.uniform(0.25, 0.45) * height
    bark = palette.tiled("wood") if palette.chance(0.6) else palette.plain(0.05, 0.3, 0.3)
    green = np.array([palette.uniform(0.03, 0.22), palette.uniform(0.1, 0.28), palette.uniform(0.01, 0.07)])
    if palette.chance(0.12):
        green = np.array(
            [palette.uniform(0.3, 0.6), palette.uniform(0.12, 0.3), palette.uniform(0.02, 0.2)]
        )  # autumn, or blossom
    radius = palette.uniform(0.018, 0.035) * height
    with mesh.one_thing():
        if not bush:
            mesh.cylinder((x, y, 0.45 * height), (radius, radius, 0.45 * height), bark, 0.8, top=0.3)
        blobs = int(rng.integers(3, 9))
        wide = palette.uniform(0.18, 0.34) * height
        for k in range(blobs):
            angle, out = palette.uniform(0, 2 * pi), palette.uniform(0.2, 1.0) * wide
            low = trunk + palette.uniform(0.1, 0.9) * (height - trunk)
            size = palette.uniform(0.45, 0.8) * wide * rng.uniform(0.8, 1.2, 3)
            middle = np.array([x + cos(angle) * out, y + sin(angle) * out, max(low - 0.3 * size[2], 0.6 * size[2])])
            leaf = palette.mesh.material(Material((green * palette.uniform(0.7, 1.3)).astype(np.float32)))
            _crown(palette, middle, size, leaf, int(rng.integers(70, 170)), palette.uniform(0.06, 0.14) * wide)
            if not bush and k < 3:
                _branch(palette, np.array([x, y, trunk * palette.uniform(0.8, 1.3)]), middle, 0.4 * radius, bark)


def _crown(palette: Palette, middle: Floats, size: Floats, leaf: int, count: int, span: float) -> None:
    """Leaves in an ellipsoid. They have its normals, so that the crown has a bright and a dark side."""
    outward = unit(palette.rng.normal(size=(count, 3)))
    places = middle + outward * size * palette.rng.uniform(0.55, 1.0, (count, 1))
    along = unit(palette.rng.normal(size=(count, 3)))
    across = unit(cross(along, palette.rng.normal(size=(count, 3))))
    half = span * palette.rng.uniform(0.5, 1.2, (count, 1))
    points = np.stack(
        [places - along * half, places - across * half * 0.6, places + along * half, places + across * half * 0.6], 1
    )
    triangles = two_triangles(count)
    normals = np.repeat(unit(outward + 0.5 * palette.rng.normal(size=(count, 3))), 6, 0).reshape(-1, 3, 3)
    uv, material = np.zeros((len(triangles), 3, 2)), np.full(len(triangles), leaf)
    palette.mesh.add(points.reshape(-1, 3), triangles, normals, uv, material)


def _branch(palette: Palette, start: Floats, end: Floats, radius: float, bark: int) -> None:
    """A thin bar from the trunk into a crown."""
    along = end - start
    reach = float(np.linalg.norm(along))
    z = along / reach
    side = np.cross(z, (0.31, 0.87, 0.38))
    side /= np.linalg.norm(side)
    turn = np.stack([side, np.cross(z, side), z], 1).astype(np.float32)
    palette.mesh.cylinder((start + end) / 2, (radius, radius, reach / 2), bark, 0.8, turn, 0.5)
