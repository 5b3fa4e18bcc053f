"""Photographs of a furnished world: colour with antialiased edges, and exact depth at the centre of every pixel."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.worlds.furnished.assets import Assets
from stages.worlds.furnished.lighting import Light, irradiance, smooth, visibility
from stages.worlds.furnished.mesh import PICTURED, TILED, Surfaces
from stages.worlds.furnished.raycast import Caster, Hits
from stages.worlds.furnished.vectors import Floats, Integers, dot, length, unit

GAMMA = 2.2  # exponent that takes the colours of pictures to linear colours
LINEAR = ((np.arange(256) / 255) ** GAMMA).astype(np.float32)  # the linear colour of each 8-bit level
# Offsets, px, of the two samples that a pixel on an edge has besides its centre.
JITTER = np.array([(-0.33, -0.17), (0.33, 0.17)], np.float32)


@dataclass(frozen=True)
class World:
    """A furnished world, ready to be photographed. Metres, z up.

    ambient: [3], linear colour of the ambient light.  above: see `irradiance`.  reach: metres, see `visibility`.
    sky: [2, 3], linear colours at the zenith and at the horizon.
    stand: [2, 3], corners of the box in which cameras are placed.  aim: [2, 3], of the box at which they look.
    """

    surfaces: Surfaces
    caster: Caster
    lights: list[Light]
    ambient: Floats
    above: float
    reach: float
    sky: Floats
    stand: Floats
    aim: Floats


@dataclass(frozen=True)
class _Points:
    """The surface points that R rays hit."""

    place: Floats
    normal: Floats
    albedo: Floats
    gloss: Floats
    glow: Floats
    face: Integers


def directions_at(pixels: Floats, c2w: Floats, K: Floats) -> Floats:
    """World directions [R, 3] through pixels [R, 2], of camera z = 1, so that d times a direction has depth d."""
    K, turn = K.astype(np.float32), c2w[:3, :3].astype(np.float32)
    x = (pixels[:, 0] - K[0, 2]) / K[0, 0]
    y = (pixels[:, 1] - K[1, 2]) / K[1, 1]
    return x[:, None] * turn[:, 0] + y[:, None] * turn[:, 1] + turn[:, 2]


def centres(size: tuple[int, int]) -> Floats:
    """The centres of all pixels, [R, 2], (x, y)."""
    y, x = np.mgrid[: size[0], : size[1]]
    return np.stack([x.reshape(-1) + 0.5, y.reshape(-1) + 0.5], 1).astype(np.float32)


def photograph(world: World, assets: Assets, c2w: Floats, K: Floats, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Linear colour [h, w, 3] and exact depth [h, w] from a camera. c2w: [4, 4], OpenCV.  K: [3, 3], px."""
    # What the rays through the centres of all pixels hit.
    h, w = size
    origin = c2w[:3, 3].astype(np.float32)
    pixels = centres(size)
    directions = directions_at(pixels, c2w, K)
    hits = world.caster.cast(origin, directions)
    points = _surface(world, assets, hits, origin, directions, float(K[0, 0]))
    hit = np.nonzero(hits.triangle >= 0)[0]
    face = np.full(h * w, -1, np.int64)
    face[hit] = points.face
    normal = np.zeros((h * w, 3), np.float32)
    normal[hit] = points.normal

    # Visibility of the lights, at every second pixel of every second row.
    c = np.arange(h * w).reshape(h, w)[::2, ::2]
    shape, c = c.shape, c.reshape(-1)
    coarse_depth, coarse_normal, coarse_face = hits.distance.take(c), normal.take(c, 0), face.take(c)
    lifted = (
        origin
        + directions.take(c, 0) * coarse_depth[:, None]
        + coarse_normal * np.maximum(0.003, 0.0015 * coarse_depth)[:, None]
    )
    seen = visibility(world.caster, lifted, coarse_normal, coarse_face >= 0, world.lights, world.reach, shape)
    seen = smooth(seen, coarse_face, coarse_depth, shape)

    def shaded(points: _Points, pixel: Integers, rays: Floats) -> Floats:
        return _shade(world, points, _fetch(seen, coarse_face, shape, pixel, points.face, w), rays)

    colour = _sky(world, directions) if len(hit) < h * w else np.empty((h * w, 3), np.float32)
    colour[hit] = shaded(points, hit, directions.take(hit, 0))

    # Two more samples of every pixel on an edge.
    edge = np.nonzero(_edges(face, normal, hits.distance, size))[0]
    aside = directions_at((pixels.take(edge, 0) + JITTER[:, None]).reshape(-1, 2), c2w, K)
    more = world.caster.cast(origin, aside)
    on = np.nonzero(more.triangle >= 0)[0]
    extra = _sky(world, aside)
    extra[on] = shaded(
        _surface(world, assets, more, origin, aside, float(K[0, 0])),
        np.tile(edge, len(JITTER)).take(on),
        aside.take(on, 0),
    )
    colour[edge] = (colour.take(edge, 0) + extra.reshape(len(JITTER), -1, 3).sum(0)) / (1 + len(JITTER))
    return colour.reshape(h, w, 3), hits.distance.reshape(h, w)


def _edges(face: Integers, normal: Floats, depth: Floats, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels whose neighbour shows another surface, another normal or another depth, boolean [h w]."""
    h, w = size
    things, d = (face // 6).reshape(h, w), depth.reshape(h, w)
    n = normal.reshape(h, w, 3)
    edge = np.zeros((h, w), bool)
    for a, b in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
        turned = n[a][..., 0] * n[b][..., 0] + n[a][..., 1] * n[b][..., 1] + n[a][..., 2] * n[b][..., 2]
        differs = (things[a] != things[b]) | (turned < 0.6) | (np.abs(d[a] - d[b]) > 0.1 * np.minimum(d[a], d[b]))
        edge[a] |= differs
        edge[b] |= differs
    return edge.reshape(-1)


def _fetch(
    seen: Floats, coarse_face: Integers, shape: tuple[int, int], pixel: Integers, face: Integers, w: int
) -> Floats:
    """Visibility [C, R] at pixels: the mean of the coarse cells around that lie on the same face, or the nearest."""
    y, x = pixel // w, pixel % w
    y0, x0 = y // 2, x // 2
    y1, x1 = np.minimum(y0 + y % 2, shape[0] - 1), np.minimum(x0 + x % 2, shape[1] - 1)
    nearest = y0 * shape[1] + x0
    total, weight = seen.take(nearest, 1) * np.float32(1e-3), np.full(len(pixel), 1e-3, np.float32)
    for cell in (nearest, y0 * shape[1] + x1, y1 * shape[1] + x0, y1 * shape[1] + x1):
        same = (coarse_face.take(cell) == face).astype(np.float32)
        total += seen.take(cell, 1) * same
        weight += same
    return total / weight


def _surface(world: World, assets: Assets, hits: Hits, origin: Floats, directions: Floats, focal: float) -> _Points:
    s = world.surfaces
    index = np.nonzero(hits.triangle >= 0)[0]
    t, depth, direction = hits.triangle.take(index), hits.distance.take(index), directions.take(index, 0)
    u, v = hits.u.take(index), hits.v.take(index)
    weight = np.stack([1 - u - v, u, v], 1)
    # `take` and `einsum` are several times faster than indexing with arrays.
    normal = unit(np.einsum("rk,rkc->rc", weight, s.normals.take(t, 0)))
    uv = np.einsum("rk,rkc->rc", weight, s.uv.take(t, 0))
    far = length(direction)
    slant = dot(normal, direction) / far
    normal *= -np.sign(slant)[:, None]
    material = s.material.take(t)
    albedo = s.colour.take(material, 0)
    footprint = depth * far / focal / np.sqrt(np.maximum(np.abs(slant), 0.1)) * s.density.take(t)
    source = s.source.take(material)
    for number, atlas in ((TILED, assets.tiles), (PICTURED, assets.pictures)):
        mask = np.nonzero(source == number)[0]
        if len(mask) and atlas is not None:
            sampled = atlas.sample(s.image.take(material.take(mask)), uv.take(mask, 0), footprint.take(mask))
            albedo[mask] = albedo.take(mask, 0) * LINEAR.take(np.minimum(sampled + 0.5, 255).astype(np.uint8))
    place = origin + direction * depth[:, None]
    return _Points(place, normal, albedo, s.gloss.take(material), s.glow.take(material), s.face.take(t))


def _shade(world: World, points: _Points, seen: Floats, directions: Floats) -> Floats:
    light = irradiance(points.place, points.normal, seen, world.lights, world.ambient, world.above)
    colour = points.albedo * (light + points.glow[:, None])
    glossy = np.nonzero(points.gloss > 0.02)[0]
    if len(glossy):
        colour[glossy] += _highlights(world, points, seen, directions, glossy)
    return colour


def _highlights(world: World, points: _Points, seen: Floats, directions: Floats, index: Integers) -> Floats:
    """Reflections of lights and surroundings on glossy surfaces, [R, 3] (Blinn-Phong, Schlick's Fresnel term)."""
    normal, gloss, place = points.normal.take(index, 0), points.gloss.take(index), points.place.take(index, 0)
    view = -unit(directions.take(index, 0))
    facing = np.clip(dot(normal, view), 0, 1)
    fresnel = gloss * (0.04 + 0.5 * (1 - facing) ** 5)
    total = (fresnel * seen[0].take(index))[:, None] * world.ambient
    power = 8 + 120 * gloss
    for k, light in enumerate(world.lights):
        towards = np.asarray(light.place, np.float32) - place
        squared = dot(towards, towards)
        middle = unit(towards / np.sqrt(squared)[:, None] + view)
        shine = np.maximum(dot(middle, normal), 0) ** power * seen[k + 1].take(index) * gloss * (power + 8) / 60
        total += (shine / (squared + 0.25))[:, None] * np.asarray(light.colour, np.float32)
    return total


def _sky(world: World, directions: Floats) -> Floats:
    up = directions[:, 2] / length(directions)
    share = np.clip(up * 2.2, 0, 1)[:, None]
    return world.sky[0] * share + world.sky[1] * (1 - share)
