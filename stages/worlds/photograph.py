"""Photographs of a world: ray-cast colour and exact depth, shading, and the errors of a real camera."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from stages.geometry import rays
from stages.scene import Cameras, Views
from stages.worlds.layouts import World
from stages.worlds.primitives import Primitives, contains, intersect, surface
from stages.worlds.textures import Textures


def cast(world: World, origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The nearest hit of each ray from one point.

    origin: [3].  direction: [R, 3].  Returns the distance [R] in units of the direction, the number of the list that
    was hit [R] (0 for the shell, then world.things), and the index in that list [R].
    """
    best, index = intersect(world.shell, origin, direction, inside=True)
    owner = torch.zeros_like(index)
    for k, shapes in enumerate(world.things, start=1):
        distance, which = intersect(shapes, origin, direction)
        closer = distance < best
        best = torch.where(closer, distance, best)
        index = torch.where(closer, which, index)
        owner = torch.where(closer, k, owner)
    return best, owner, index


def depth_map(world: World, cameras: Cameras) -> Tensor:
    """Exact depth (camera z) in metres, [N, h, w]."""
    directions = _directions(cameras)
    depths = [cast(world, cameras.c2w[k, :3, 3].float(), directions[k])[0] for k in range(len(cameras))]
    return torch.stack(depths).reshape(-1, *cameras.size)


def photograph(world: World, textures: Textures, cameras: Cameras, shadows: bool = True) -> Views:
    """Colour images and exact depth of a world.

    Lambert shading; the first lamp casts shadows; edges of the shell are darker.
    """
    directions = _directions(cameras)
    images, depths = [], []
    for k in range(len(cameras)):
        origin, focal = cameras.c2w[k, :3, 3].float(), float(cameras.K[k, 0, 0])
        distance, owner, index = cast(world, origin, directions[k])
        points = origin + directions[k] * distance[:, None]
        images.append(_shade(world, textures, points, owner, index, directions[k], distance / focal, shadows))
        depths.append(distance)
    h, w = cameras.size
    colours = torch.stack(images).reshape(-1, h, w, 3).permute(0, 3, 1, 2).clamp(0, 1)
    return Views(colours, cameras, torch.stack(depths).reshape(-1, h, w))


def _directions(cameras: Cameras) -> Tensor:
    """World directions with camera z = 1, [N, h w, 3]. So distances along them are depths."""
    local = rays(cameras.K.float(), cameras.size).flatten(1, 2)
    return torch.einsum("nij,nrj->nri", cameras.c2w[:, :3, :3].float(), local)


def _shade(
    world: World,
    textures: Textures,
    points: Tensor,
    owner: Tensor,
    index: Tensor,
    direction: Tensor,
    pixel: Tensor,
    shadows: bool,
) -> Tensor:
    # Normal and colour of the surface at each point.
    normal, albedo = torch.empty_like(points), torch.empty_like(points)
    for k, shapes in enumerate([world.shell, *world.things]):
        mask = owner == k
        n, tile, uv = surface(shapes, index[mask], points[mask])
        slant = (n * F.normalize(direction[mask], dim=-1)).sum(-1).abs().clamp_min(0.15)
        footprint = pixel[mask] / (slant * shapes.tile_size[index[mask]])
        normal[mask] = -n if k == 0 else n
        albedo[mask] = textures.sample(tile, uv, footprint) * shapes.tint[index[mask]]
    # Light: ambient light, less near the shell's edges, and the lamps.
    corner = (1 - world.shell.local(points)[0].abs()).sort(dim=-1).values[:, 1].clamp(0, 0.3) / 0.3
    light = world.ambient * (0.7 + 0.3 * corner)
    for k, (lamp, power) in enumerate(zip(world.lamps, world.lamp_power, strict=True)):
        towards = lamp - points
        lit = (normal * F.normalize(towards, dim=-1)).sum(-1).clamp_min(0) * power
        if shadows and k == 0:
            lit = lit * (1 - 0.8 * _blocked(world.things, points + normal * 2e-3, towards))
        light = light + lit
    return albedo * light[:, None]


def _blocked(things: list[Primitives], origin: Tensor, towards: Tensor) -> Tensor:
    blocked = torch.zeros(len(origin))
    for shapes in things:
        distance, _ = intersect(shapes, origin, towards)
        blocked = torch.maximum(blocked, (distance < 1).float())
    return blocked


def free(world: World, point: Tensor, margin: float) -> bool:
    """Whether a camera fits at `point` [3], at least `margin` metres away from all surfaces."""
    inside = bool((world.shell.local(point[None])[0].abs() < 1 - margin / world.shell.half[0]).all())
    return inside and not any(bool(contains(shapes, point[None], margin)) for shapes in world.things)


def expose(images: Tensor, generator: Generator) -> Tensor:
    """Add what cameras add: exposure, gamma, white balance and blur to all views, and noise to the photographs.

    In half of the scenes the photographs also differ slightly from each other in exposure, gamma and white balance.
    images: [V, 3, h, w]; the first two views are the photographs, the others the truth.  Returns the same shape.
    """
    v = images.shape[0]
    is_photograph = (torch.arange(v) < 2).float().reshape(v, 1, 1, 1)
    differ = is_photograph * float(torch.rand((), generator=generator) < 0.5)
    common = torch.rand(3, generator=generator)
    gain = (0.8 + 0.6 * common[0]) * (1 + 0.04 * differ * torch.randn(v, 1, 1, 1, generator=generator))
    balance = 1 + 0.06 * torch.randn(1, 3, 1, 1, generator=generator)
    balance = balance + 0.01 * differ * torch.randn(v, 3, 1, 1, generator=generator)
    gamma = (0.7 + 0.5 * common[1]) * (1 + 0.02 * differ * torch.randn(v, 1, 1, 1, generator=generator))
    out = (images * gain * balance).clamp(1e-4, 1) ** gamma
    blurred = F.avg_pool2d(F.pad(out, (1, 1, 1, 1), mode="replicate"), 3, 1)
    out = torch.lerp(out, blurred, 0.3 * float(common[2]))
    noise = 0.012 * is_photograph * torch.rand(v, 1, 1, 1, generator=generator)
    return (out + noise * torch.randn(out.shape, generator=generator)).clamp(0, 1)
