"""Fewer triangles for a model, by quadric edge collapse; and normals that are smooth except at creases."""

import numpy as np
from numpy.typing import NDArray

from stages.worlds.furnished.catalogue import Part

CREASE = 0.7  # two faces have a sharp edge if the cosine between their normals is below this
SLACK = 1.25  # largest number of triangles of a simplified part, as a multiple of the target
LARGEST_LEAF = 6.0  # largest factor by which a loose piece is enlarged to stand for others


def simplify(parts: list[Part], limit: int) -> list[Part]:
    """The parts of a model, each with fewer triangles in the same proportion: about `limit` in all."""
    total = sum(len(part.faces) for part in parts)
    return [
        _simplify(part, max(12, int(limit * len(part.faces) / total)) if total > limit else len(part.faces))
        for part in parts
    ]


def _simplify(part: Part, target: int) -> Part:
    reduced = _collapse(part, target, seams=part.uv is not None and part.picture is not None)
    if len(reduced.faces) > SLACK * target:
        reduced = _collapse(part, target, seams=False)
    if len(reduced.faces) > SLACK * target:
        reduced = _thin(reduced, target)
    return reduced


def _collapse(part: Part, target: int, seams: bool) -> Part:
    """Collapse edges until `target` triangles are left, or no edge can be collapsed.

    seams: keep vertices apart that differ only in their texture coordinates.
    """
    import fast_simplification

    keys = np.concatenate([part.vertices, part.uv], 1) if seams and part.uv is not None else part.vertices
    _, first, inverse = np.unique(np.round(keys, 5), axis=0, return_index=True, return_inverse=True)
    vertices, uv = part.vertices[first], None if part.uv is None else part.uv[first]
    faces = inverse.reshape(-1)[part.faces]
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 0] != faces[:, 2])]
    if len(faces) > target:
        points, before = vertices.astype(np.float32), faces.astype(np.int32)
        _, _, collapses = fast_simplification.simplify(points, before, target_count=target, return_collapses=True)
        reduced, faces, origin = fast_simplification.replay_simplification(points, before, collapses)
        if uv is not None:
            # A remaining vertex takes the texture coordinates of the nearest vertex that was merged into it.
            known = origin >= 0
            distance = np.full(len(origin), np.inf)
            distance[known] = np.linalg.norm(points[known] - reduced[origin[known]], axis=1)
            order = np.lexsort((distance, origin))
            uv = uv[order[np.searchsorted(origin[order], np.arange(len(reduced)))]]
        vertices = reduced.astype(float)
    return _part(part, vertices, faces, uv)


def _thin(part: Part, target: int) -> Part:
    """Keep some of many loose pieces, such as leaves, and enlarge them to cover about the same area."""
    label = np.arange(len(part.vertices))
    while True:
        lowest = label[part.faces].min(1)
        spread = label.copy()
        np.minimum.at(spread, part.faces.reshape(-1), np.repeat(lowest, 3))
        spread = spread[spread]
        if np.array_equal(spread, label):
            break
        label = spread
    _, piece, count = np.unique(label[part.faces[:, 0]], return_inverse=True, return_counts=True)
    share = target / len(part.faces)
    kept = np.random.default_rng(0).random(len(count)) < share
    kept |= count > 0.1 * len(part.faces)
    faces = part.faces[kept[piece]]
    vertices = part.vertices.copy()
    numbers = label[faces[:, 0]]
    loose = np.repeat(count[piece[kept[piece]]] <= 0.1 * len(part.faces), 3)
    corner, owner = faces.reshape(-1)[loose], np.repeat(numbers, 3)[loose]
    _, owner = np.unique(owner, return_inverse=True)
    size = np.maximum(np.bincount(owner), 1)[:, None]
    middle = np.stack([np.bincount(owner, part.vertices[corner, k]) for k in range(3)], 1) / size
    grown = min(share**-0.5, LARGEST_LEAF)
    vertices[corner] = middle[owner] + (part.vertices[corner] - middle[owner]) * grown
    return _part(part, vertices, faces, part.uv)


def _part(part: Part, vertices: NDArray[np.float64], faces: NDArray[np.int64], uv: NDArray[np.float64] | None) -> Part:
    used, inverse = np.unique(faces, return_inverse=True)
    return Part(
        vertices[used], inverse.reshape(-1, 3), None if uv is None else uv[used], part.colour, part.picture, part.gloss
    )


def corner_normals(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float32]:
    """A unit normal per corner of every triangle, [T, 3, 3]: the mean over adjacent faces without a crease between."""
    triangles = vertices[faces]
    area = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    unit = area / np.maximum(np.linalg.norm(area, axis=1, keepdims=True), 1e-12)
    _, place = np.unique(np.round(vertices, 4), axis=0, return_inverse=True)
    corner = place.reshape(-1)[faces].reshape(-1)
    owner = np.repeat(np.arange(len(faces)), 3)
    order = np.argsort(corner, kind="stable")
    start = np.searchsorted(corner[order], np.arange(corner.max() + 2))
    valence = np.minimum(np.diff(start), 24)[corner]
    mine = np.repeat(np.arange(len(corner)), valence)
    step = np.arange(len(mine)) - np.repeat(np.cumsum(valence) - valence, valence)
    other = owner[order[start[corner[mine]] + step]]
    near = (unit[owner[mine]] * unit[other]).sum(1) > CREASE
    total = np.stack([np.bincount(mine, np.where(near, area[other, k], 0), len(corner)) for k in range(3)], 1)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 1e-12, total / np.maximum(length, 1e-12), unit[owner]).reshape(-1, 3, 3).astype(np.float32)
