"""A photograph of a furnished world: colour with antialiased edges, and the exact depth at the centre of every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.worlds.furnished.assets import Assets
from stages.worlds.furnished.lighting import Light, irradiance, smooth, visibility
from stages.worlds.furnished.mesh import PICTURED, TILED, Surfaces
from stages.worlds.furnished.raycast import Caster, Hits
from stages.worlds.furnished.vectors import dot, length, unit

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
GAMMA = 2.2
LINEAR = ((np.arange(256) / 255) ** GAMMA).astype(np.float32)
JITTER = np.array([(-0.25, -0.3), (0.3, -0.2), (0.05, 0.35)], np.float32)  # pixels; with the centre, four samples of a pixel on an edge


@dataclass(frozen=True)
class World:
    """A furnished world, ready to be photographed. Metres, z up.

    lights: see Light.  ambient: [3], linear.  above: see irradiance.  reach: metres, see visibility.
    sky: [2, 3], linear colours at the zenith and at the horizon.  stand: [2, 3], the box within which people stand with a camera.
    aim: [2, 3], the box that they look at.
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
    """What a ray meets, for R rays that meet a surface."""

    place: Floats
    normal: Floats
    albedo: Floats
    gloss: Floats
    glow: Floats
    face: Integers


def directions_at(pixels: Floats, c2w: Floats, K: Floats) -> Floats:
    """World directions with camera z = 1 through pixels [R, 2], [R, 3]: distances along them are depths."""
    x = (pixels[:, 0] - K[0, 2]) / K[0, 0]
    y = (pixels[:, 1] - K[1, 2]) / K[1, 1]
    return (x[:, None] * c2w[:3, 0] + y[:, None] * c2w[:3, 1] + c2w[:3, 2]).astype(np.float32)


def centres(size: tuple[int, int], step: int = 1) -> Floats:
    """The centres of every `step`-th pixel, [R, 2], (x, y)."""
    y, x = np.mgrid[0 : size[0] : step, 0 : size[1] : step]
    return np.stack([x.reshape(-1) + 0.5, y.reshape(-1) + 0.5], 1).astype(np.float32)


def photograph(world: World, assets: Assets, c2w: Floats, K: Floats, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Linear colour [h, w, 3] and exact depth [h, w] of a camera (c2w [4, 4], OpenCV; K [3, 3])."""
    h, w = size
    origin = c2w[:3, 3].astype(np.float32)
    pixels = centres(size)
    directions = directions_at(pixels, c2w, K)
    hits = world.caster.cast(origin, directions)
    points = _surface(world, assets, hits, origin, directions, float(K[0, 0]))
    struck = hits.triangle >= 0
    face = np.full(h * w, -1, np.int64)
    face[struck] = points.face
    normal = np.zeros((h * w, 3), np.float32)
    normal[struck] = points.normal
    place = origin + directions * hits.distance[:, None]

    coarse = np.arange(h * w).reshape(h, w)[::2, ::2]
    shape = coarse.shape
    c = coarse.reshape(-1)
    lifted = place[c] + normal[c] * np.maximum(0.003, 0.0015 * hits.distance[c])[:, None]
    seen = visibility(world.caster, lifted, normal[c], struck[c], world.lights, world.reach, (shape[0], shape[1]))
    seen = smooth(seen, face[c], hits.distance[c], (shape[0], shape[1]))

    colour = np.empty((h * w, 3), np.float32)
    centre_index = np.nonzero(struck)[0]
    colour[centre_index] = _shade(world, points, _fetch(seen, face[c], shape, centre_index, points.face, w), directions[struck])
    colour[~struck] = _sky(world, directions[~struck])

    edge = np.nonzero(_edges(face, normal, hits.distance, size))[0]
    # Three more samples of every pixel on an edge.
    aside = directions_at((pixels[edge] + JITTER[:, None]).reshape(-1, 2), c2w, K)
    more = world.caster.cast(origin, aside)
    on = more.triangle >= 0
    spots = _surface(world, assets, more, origin, aside, float(K[0, 0]))
    extra = np.empty((len(aside), 3), np.float32)
    where = np.tile(edge, len(JITTER))[on]
    extra[on] = _shade(world, spots, _fetch(seen, face[c], shape, where, spots.face, w), aside[on])
    extra[~on] = _sky(world, aside[~on])
    colour[edge] = (colour[edge] + extra.reshape(len(JITTER), -1, 3).sum(0)) / (1 + len(JITTER))
    return colour.reshape(h, w, 3), hits.distance.reshape(h, w)


def _edges(face: Integers, normal: Floats, depth: Floats, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels that differ in surface from a neighbour, [h w]."""
    h, w = size
    things, d = (face // 6).reshape(h, w), depth.reshape(h, w)
    n = normal.reshape(h, w, 3)
    edge = np.zeros((h, w), bool)
    for a, b in (((slice(None), slice(1, None)), (slice(None), slice(None, -1))), ((slice(1, None), slice(None)), (slice(None, -1), slice(None)))):
        turned = n[a][..., 0] * n[b][..., 0] + n[a][..., 1] * n[b][..., 1] + n[a][..., 2] * n[b][..., 2]
        differs = (things[a] != things[b]) | (turned < 0.8) | (np.abs(d[a] - d[b]) > 0.1 * np.minimum(d[a], d[b]))
        edge[a] |= differs
        edge[b] |= differs
    return edge.reshape(-1)


def _fetch(seen: Floats, coarse_face: Integers, shape: tuple[int, ...], pixel: Integers, face: Integers, w: int) -> Floats:
    """Visibility at pixels from the coarse grid: of the four cells around, the mean of those on the same face, or the nearest. [C, R]"""
    y, x = pixel // w, pixel % w
    y0, x0 = y // 2, x // 2
    y1, x1 = np.minimum(y0 + y % 2, shape[0] - 1), np.minimum(x0 + x % 2, shape[1] - 1)
    total, weight = seen[:, y0 * shape[1] + x0] * np.float32(1e-3), np.full(len(pixel), 1e-3, np.float32)
    for cell in (y0 * shape[1] + x0, y0 * shape[1] + x1, y1 * shape[1] + x0, y1 * shape[1] + x1):
        same = (coarse_face[cell] == face).astype(np.float32)
        total += seen[:, cell] * same
        weight += same
    return total / weight


def _surface(world: World, assets: Assets, hits: Hits, origin: Floats, directions: Floats, focal: float) -> _Points:
    s = world.surfaces
    index = np.nonzero(hits.triangle >= 0)[0]
    t, u, v = hits.triangle[index], hits.u[index][:, None], hits.v[index][:, None]
    direction, depth = directions[index], hits.distance[index]
    rest = 1 - u - v
    n3, uv3 = s.normals[t], s.uv[t]
    normal = n3[:, 0] * rest + n3[:, 1] * u + n3[:, 2] * v
    normal = unit(normal)
    far = length(direction)
    slant = dot(normal, direction) / far
    normal *= -np.sign(slant)[:, None]
    uv = uv3[:, 0] * rest + uv3[:, 1] * u + uv3[:, 2] * v
    material = s.material[t]
    albedo = s.colour[material]
    footprint = depth * far / focal / np.sqrt(np.maximum(np.abs(slant), 0.1)) * s.density[t]
    source = s.source[material]
    for number, atlas in ((TILED, assets.tiles), (PICTURED, assets.pictures)):
        mask = np.nonzero(source == number)[0]
        if len(mask) and atlas is not None:
            sampled = atlas.sample(s.image[material[mask]], uv[mask], footprint[mask])
            albedo[mask] *= LINEAR[np.minimum(sampled + 0.5, 255).astype(np.uint8)]
    return _Points(origin + direction * depth[:, None], normal, albedo, s.gloss[material], s.glow[material], s.face[t])


def _shade(world: World, points: _Points, seen: Floats, directions: Floats) -> Floats:
    light = irradiance(points.place, points.normal, seen, world.lights, world.ambient, world.above)
    colour = points.albedo * (light + points.glow[:, None])
    glossy = np.nonzero(points.gloss > 0.02)[0]
    if len(glossy):
        colour[glossy] += _highlights(world, points, seen, directions, glossy)
    return colour


def _highlights(world: World, points: _Points, seen: Floats, directions: Floats, index: Integers) -> Floats:
    """What glossy surfaces mirror of the lights and of the surroundings, [R, 3] (Blinn-Phong, Schlick's Fresnel term)."""
    normal, gloss, place = points.normal[index], points.gloss[index], points.place[index]
    view = -unit(directions[index])
    facing = np.clip(dot(normal, view), 0, 1)
    fresnel = gloss * (0.04 + 0.5 * (1 - facing) ** 5)
    total = (fresnel * seen[0, index])[:, None] * world.ambient
    power = 8 + 120 * gloss
    for k, light in enumerate(world.lights):
        towards = np.asarray(light.place, np.float32) - place
        squared = dot(towards, towards)
        middle = unit(towards / np.sqrt(squared)[:, None] + view)
        shine = np.maximum(dot(middle, normal), 0) ** power * seen[k + 1, index] * gloss * (power + 8) / 60
        total += (shine / (squared + 0.25))[:, None] * np.asarray(light.colour, np.float32)
    return total


def _sky(world: World, directions: Floats) -> Floats:
    up = directions[:, 2] / length(directions)
    share = np.clip(up * 2.2, 0, 1)[:, None]
    return world.sky[0] * share + world.sky[1] * (1 - share)
