"""Procedural worlds: exact geometry, determinism, textures."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Generator, Tensor

from stages.geometry import project, unproject
from stages.worlds import load_textures, sample_scene
from stages.worlds.motion import between
from stages.worlds.primitives import BALL, BOX, CYLINDER, FAR, Primitives, intersect, surface
from stages.worlds.shards import write_shard
from stages.worlds.textures import TILE, Textures


def _primitive(kind: int, generator: Generator) -> Primitives:
    q, _ = torch.linalg.qr(torch.randn(1, 3, 3, generator=generator))
    q = q * torch.linalg.det(q)[:, None, None].sign()
    half = 0.3 + torch.rand(1, 3, generator=generator)
    return Primitives(
        kind, q, torch.randn(1, 3, generator=generator), half, torch.arange(6)[None], torch.ones(1), torch.ones(1, 3)
    )


def _outside(kind: int, p: Tensor) -> Tensor:
    """Signed excess over the unit shape: <= 0 inside."""
    if kind == BOX:
        return p.abs().amax(-1) - 1
    if kind == BALL:
        return p.norm(dim=-1) - 1
    return torch.maximum(p[..., :2].norm(dim=-1), p[..., 2].abs()) - 1


@pytest.mark.parametrize("kind", [BOX, BALL, CYLINDER])
def test_hits_agree_with_marching(kind: int) -> None:
    """Walking along a ray in small steps meets the surface where `intersect` says, or nowhere."""
    g = Generator().manual_seed(kind)
    shape = _primitive(kind, g)
    origin = shape.centre[0] + torch.tensor([3.0, 0.5, -0.4])
    direction = shape.centre[0] + 0.8 * torch.randn(300, 3, generator=g) - origin
    distance, index = intersect(shape, origin, direction)
    t = torch.linspace(0, 3, 6001)
    inside = (
        _outside(kind, shape.local((origin + direction[:, None] * t[:, None]).reshape(-1, 3))[0]).reshape(300, -1) <= 0
    )
    first = torch.where(inside.any(1), t[inside.float().argmax(1)], FAR)
    clear = (inside.sum(1) == 0) | (inside.sum(1) > 4)  # grazing rays may slip between two steps
    hit = distance < 3
    assert hit.sum() > 60
    assert (~hit).sum() > 20
    assert torch.equal(hit[clear], (first < 3)[clear])
    both = hit & (first < 3)
    assert (distance[both] - first[both]).abs().max() < 1e-3
    normal, _, _ = surface(shape, index[both], origin + direction[both] * distance[both, None])
    assert ((normal * direction[both]).sum(-1) < 1e-4).all(), "the normal of an entry points against the ray"
    assert torch.allclose(normal.norm(dim=-1), torch.ones(int(both.sum())), atol=1e-5)


def test_depth_is_consistent_between_views() -> None:
    """A point of one view, seen in the other, lies at that view's depth unless something stands before it."""
    g = Generator().manual_seed(3)
    textures = load_textures(None, g, procedural=8)
    views = sample_scene(textures, g, (48, 64), [0.5], shadows=False)
    assert views.depth is not None
    assert len(views.cameras) == 3
    cameras = views.cameras.to(torch.float64)
    points = unproject(views.depth[0].double(), cameras.K[0], cameras.c2w[0]).reshape(-1, 3)
    pixels, z = project(points, cameras.K[1], cameras.c2w[1])
    x, y = (pixels - 0.5).round().long().unbind(-1)
    seen = (z > 0) & (x >= 0) & (x < 64) & (y >= 0) & (y < 48)
    assert seen.float().mean() > 0.3, "pairs overlap"
    ratio = views.depth[1][y[seen], x[seen]] / z[seen]
    assert (ratio < 1.1).float().mean() > 0.9, "nothing is transparent"
    assert ((ratio - 1).abs() < 0.05).float().mean() > 0.6


def test_same_seed_same_world() -> None:
    def draw() -> Tensor:
        g = Generator().manual_seed(11)
        return sample_scene(load_textures(None, g, procedural=4), g, (32, 48), [0.3]).images

    assert torch.equal(draw(), draw())


def test_between_reaches_both_ends() -> None:
    g = Generator().manual_seed(0)
    textures = load_textures(None, g, procedural=2)
    cameras = sample_scene(textures, g, (16, 16), [], shadows=False).cameras
    for t, expected in ((0.0, cameras.c2w[0]), (1.0, cameras.c2w[1])):
        assert torch.allclose(between(cameras.c2w[0], cameras.c2w[1], t), expected, atol=1e-4)


def test_texture_sampling_is_bilinear_and_mirrors() -> None:
    tile = torch.rand(1, 3, TILE, TILE, generator=Generator().manual_seed(0))
    textures = Textures(tile)
    centres = torch.tensor([[10.5, 20.5], [200.5, 3.5]]) / TILE
    index, sharp = torch.zeros(2, dtype=torch.long), torch.full((2,), 1e-4)
    # |uv mod 2 - 1| mirrors: uv in [1, 2] reads the tile from left to right
    exact = textures.sample(index, centres + 1, sharp)
    assert torch.allclose(exact, torch.stack([tile[0, :, 20, 10], tile[0, :, 3, 200]]), atol=1 / 255)
    assert torch.allclose(textures.sample(index, 1 - centres, sharp), exact, atol=1 / 255)
    blurred = textures.sample(index, centres + 1, torch.full((2,), 1.0))
    assert (blurred - 0.5).abs().max() < 0.15, "a pixel as large as the tile sees its mean"


def test_shard_round_trip(tmp_path: Path) -> None:
    textures = load_textures(None, Generator().manual_seed(0), procedural=3)
    shard = load_file(write_shard(tmp_path, textures, seed=0, number=0, scenes=2, size=(128, 192)))
    h, w = 128, 192
    assert shard["images"].shape == (2, 4, 3, h, w)
    assert shard["images"].dtype == torch.uint8
    assert shard["depth"].shape == (2, 4, h, w)
    assert bool((shard["depth"] > 0).all())
    again = load_file(write_shard(tmp_path, textures, seed=0, number=0, scenes=2, size=(128, 192)))
    assert torch.equal(shard["images"], again["images"])
