"""Cameras of photographs without any: up to a similarity they are the true ones, and they are the same every time."""

import pytest
import torch
import torch.nn.functional as F

from stages.errors import InputError, RunError
from stages.geometry import rays
from stages.reconstruct.find_cameras import find_poses
from stages.scene import Cameras

SIZE = (256, 320)


def cameras(count: int) -> Cameras:
    c2w = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    c2w[:, 0, 3] = torch.linspace(-0.6, 0.6, count, dtype=torch.float64)
    c2w[:, 1, 3] = 0.2 * torch.tensor([0.0, 1, 0, 1, 0, 1], dtype=torch.float64)[:count]
    # All look at one point: without turning, a focal length cannot be told from a depth.
    angle = torch.atan2(-c2w[:, 0, 3], torch.tensor(3.0, dtype=torch.float64))
    c2w[:, 0, 0] = c2w[:, 2, 2] = angle.cos()
    c2w[:, 0, 2], c2w[:, 2, 0] = angle.sin(), -angle.sin()
    K = torch.tensor([[330.0, 0, 160], [0, 330, 128], [0, 0, 1]], dtype=torch.float64).expand(count, 3, 3)
    return Cameras(c2w, K, SIZE)


def photographs(count: int) -> torch.Tensor:
    """A bumpy wall three units away with detail at every size."""
    g = torch.Generator().manual_seed(0)
    octaves = [
        F.interpolate(torch.rand(1, 3, 2**k, 2**k, generator=g), (1024, 1024), mode="bicubic") for k in range(3, 9)
    ]
    texture = sum(octaves) / len(octaves)
    path = cameras(count)
    centre = path.c2w[:, None, None, :3, 3]
    directions = torch.einsum("nij,nhwj->nhwi", path.c2w[:, :3, :3], rays(path.K, SIZE))
    directions = directions / directions[..., 2:]
    depth = torch.full((count, *SIZE, 1), 3.0, dtype=torch.float64)
    for _ in range(30):
        x, y, _ = (centre + depth * directions).unbind(-1)
        depth = (3 + 0.25 * torch.sin(2 * x) + 0.25 * torch.cos(3 * y))[..., None]
    wall = (centre + depth * directions)[..., :2] / 3
    return F.grid_sample(texture.expand(count, -1, -1, -1), wall.float(), align_corners=False).mul(3).sub(1).clamp(0, 1)


def test_cameras_are_found_up_to_a_similarity_and_every_time_the_same() -> None:
    images, true = photographs(5), cameras(5)
    found, which = find_poses(images)
    assert which == [0, 1, 2, 3, 4]
    assert found.size == SIZE
    assert float((found.K[:, 0, 0] / 330 - 1).abs().max()) < 0.05
    centres, truth = (c.c2w[:, :3, 3] - c.c2w[:, :3, 3].mean(0) for c in (found, true))
    u, _, v = torch.linalg.svd(truth.T @ centres)
    turn = u @ torch.diag(torch.tensor([1.0, 1, float(torch.sign(torch.det(u @ v)))], dtype=torch.float64)) @ v
    fitted = centres @ turn.T * (truth.norm() / centres.norm())
    assert float((fitted - truth).norm(dim=1).max()) < 0.02
    again, _ = find_poses(images)
    assert torch.equal(again.c2w, found.c2w)
    assert torch.equal(again.K, found.K)


def test_photographs_of_nothing_in_common_are_refused() -> None:
    g = torch.Generator().manual_seed(1)
    with pytest.raises(RunError, match="of 4 photographs fit together"):
        find_poses(torch.rand(4, 3, 64, 64, generator=g))
    with pytest.raises(InputError, match="2 photographs"):
        find_poses(torch.rand(2, 3, 64, 64, generator=g))
