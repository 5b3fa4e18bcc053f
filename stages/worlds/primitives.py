"""Ray casting of boxes, balls and cylinders, and of a room, which is a box seen from inside."""

from dataclasses import dataclass

import torch
from torch import Tensor

BOX, BALL, CYLINDER = 0, 1, 2
FAR = 1e9  # distance that stands for "no hit"


@dataclass(frozen=True, eq=False)
class Primitives:
    """P primitives of one kind, each the unit shape under an affine map.

    kind: BOX ([-1, 1]^3), BALL (radius 1) or CYLINDER (radius 1 about z, |z| <= 1).
    rotation: [P, 3, 3], local to world.  centre: [P, 3].  half: [P, 3], half sizes in metres.
    texture: [P, 6], tile number of each face (+x -x +y -y +z -z).  tile_size: [P], metres per tile.
    tint: [P, 3], factor on the colour.
    """

    kind: int
    rotation: Tensor
    centre: Tensor
    half: Tensor
    texture: Tensor
    tile_size: Tensor
    tint: Tensor

    def local(self, points: Tensor) -> Tensor:
        """World points [R, 3] in the local frame of each primitive, in half sizes: [P, R, 3]."""
        return torch.einsum("pji,prj->pri", self.rotation, points[None] - self.centre[:, None]) / self.half[:, None]


def intersect(shapes: Primitives, origin: Tensor, direction: Tensor, inside: bool = False) -> tuple[Tensor, Tensor]:
    """The nearest hit of each ray with a set of primitives.

    origin: [3] for all rays, or [R, 3].  direction: [R, 3], any length; distances are in units of it.
    inside: take the exit in place of the entry, for rooms.
    Returns the distance [R] (FAR where nothing is hit) and the index of the primitive [R].
    """
    # The axis of coordinates comes before that of rays, so that all operations run over long contiguous rows.
    to_local = shapes.rotation.mT / shapes.half[..., None]
    d = (to_local.reshape(-1, 3) @ direction.T).reshape(-1, 3, len(direction))
    o = (to_local.reshape(-1, 3) @ origin.reshape(-1, 3).T).reshape(len(d), 3, -1)
    o = o - to_local @ shapes.centre[..., None]
    (dx, dy, dz), (ox, oy, oz) = d.unbind(1), o.unbind(1)
    if shapes.kind == BOX:
        slabs = [_slab(ox, dx), _slab(oy, dy), _slab(oz, dz)]
    elif shapes.kind == BALL:
        slabs = [_quadratic(dx * dx + dy * dy + dz * dz, ox * dx + oy * dy + oz * dz, ox * ox + oy * oy + oz * oz - 1)]
    else:
        slabs = [_quadratic(dx * dx + dy * dy, ox * dx + oy * dy, ox * ox + oy * oy - 1), _slab(oz, dz)]
    enter, leave = slabs[0]
    for low, high in slabs[1:]:
        enter, leave = torch.maximum(enter, low), torch.minimum(leave, high)
    distance = leave if inside else enter
    distance = torch.where((enter < leave) & (distance > 1e-4), distance, FAR)
    nearest, index = distance.min(0)
    return nearest, index


def _slab(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """The distances at which a ray enters and leaves |x| <= 1."""
    inverse = 1 / torch.where(d.abs() < 1e-9, 1e-9, d)
    middle, reach = -o * inverse, inverse.abs()
    return middle - reach, middle + reach


def _quadratic(a: Tensor, half_b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Both roots of a t^2 + 2 half_b t + c. Where there is none, the first is larger than the second."""
    discriminant = half_b * half_b - a * c
    none = discriminant <= 0
    root, inverse = discriminant.clamp_min(0).sqrt(), 1 / a.clamp_min(1e-12)
    return torch.where(none, FAR, (-half_b - root) * inverse), torch.where(none, -FAR, (-half_b + root) * inverse)


def surface(shapes: Primitives, index: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Outward normal, tile number and texture coordinates at hits.

    index: [R], the primitive of each hit.  points: [R, 3], world.
    Returns unit normals [R, 3], tile numbers [R] and texture coordinates [R, 2], in tiles.
    """
    # The hit in the local frame, its face and its normal there.
    half, rotation = shapes.half[index], shapes.rotation[index]
    p = torch.einsum("rji,rj->ri", rotation, points - shapes.centre[index]) / half
    if shapes.kind == BOX:
        axis = p.abs().argmax(-1)
        normal = torch.zeros_like(p).scatter_(1, axis[:, None], p.gather(1, axis[:, None]).sign())
    else:
        normal = p.clone()
        if shapes.kind == CYLINDER:
            cap = p[:, 2].abs() > p[:, :2].norm(dim=-1)
            normal = torch.where(cap[:, None], p * p.new_tensor([0, 0, 1]), p * p.new_tensor([1, 1, 0]))
        axis = (normal / half).abs().argmax(-1)
    # Texture coordinates along the face; each primitive and face gets its own offset.
    face = axis * 2 + (p.gather(1, axis[:, None])[:, 0] < 0).long()
    metric = p * half / shapes.tile_size[index, None]
    u = metric.gather(1, ((axis + 1) % 3)[:, None])
    v = metric.gather(1, ((axis + 2) % 3)[:, None])
    uv = torch.cat([u, v], -1) + 0.37 * index[:, None] + 0.21 * face[:, None]
    world = torch.einsum("rij,rj->ri", rotation, normal / half)
    return torch.nn.functional.normalize(world, dim=-1), shapes.texture[index].gather(1, face[:, None])[:, 0], uv


def contains(shapes: Primitives, points: Tensor, margin: float) -> Tensor:
    """Whether each point [R, 3] lies in a primitive or within about `margin` metres of one: [R]."""
    p = shapes.local(points)
    grown = 1 + margin / shapes.half[:, None]
    return (p.abs() <= grown).all(-1).any(0)
