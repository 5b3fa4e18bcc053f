"""Rays against the triangles of a world, by Embree."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.worlds.furnished.mesh import Surfaces
from stages.worlds.furnished.vectors import Floats, Integers

SKY = 400.0  # depth where a ray hits nothing, metres


@dataclass(frozen=True)
class Hits:
    """What R rays hit.

    triangle: [R], -1 for the sky.  distance: [R], in units of the ray's direction, SKY for the sky.
    u, v: [R], barycentric weights of the second and third corner.
    """

    triangle: Integers
    distance: Floats
    u: Floats
    v: Floats


class Caster:
    """An Embree scene of all triangles of a world."""

    def __init__(self, surfaces: Surfaces) -> None:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        # Embree's robust rays never slip between two triangles. The usual ones hardly do, and are faster.
        self.scene = EmbreeScene(robust=False)
        TriangleMesh(self.scene, surfaces.vertices, surfaces.corners.astype(np.int32))

    def cast(self, origin: Floats, directions: Floats) -> Hits:
        """The first surfaces that rays from `origin` [3] along `directions` [R, 3] hit."""
        origins = np.ascontiguousarray(np.broadcast_to(origin.astype(np.float32), directions.shape))
        result = self.scene.run(origins, np.ascontiguousarray(directions, dtype=np.float32), output=1)
        distance = np.where(result["primID"] >= 0, result["tfar"], np.float32(SKY))
        return Hits(result["primID"].astype(np.int64), distance, result["u"], result["v"])

    def blocked(self, origins: Floats, directions: Floats, reach: Floats) -> NDArray[np.bool_]:
        """Whether something lies on each ray, nearer than `reach` [R] times its direction, [R]."""
        if not len(origins):
            return np.zeros(0, bool)
        origins, directions = np.ascontiguousarray(origins, np.float32), np.ascontiguousarray(directions, np.float32)
        return self.scene.run(origins, directions, dists=np.ascontiguousarray(reach, np.float32), query="OCCLUDED") >= 0
