"""Small objects to write and read back, and the folder of validation scenes where there is one."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from stages.scene import Cameras, Gaussians


@pytest.fixture(scope="session")
def posed_scenes(data: Path) -> list[Path]:
    """The transforms.json of every scene in $VIDEOSCENE_DATA; skips without them."""
    found = sorted(data.glob("posed/*/*/transforms.json"))
    if not found:
        pytest.skip("no validation data")
    return found


def random_rotations(count: int) -> Tensor:
    """Proper rotations, [count, 3, 3] float64."""
    q, _ = torch.linalg.qr(torch.randn(count, 3, 3, dtype=torch.float64))
    return q * torch.linalg.det(q)[:, None, None]


@pytest.fixture
def cameras() -> Cameras:
    """Five cameras, float64, each with its own intrinsics."""
    torch.manual_seed(1)
    c2w = torch.eye(4, dtype=torch.float64).repeat(5, 1, 1)
    c2w[:, :3, :3] = random_rotations(5)
    c2w[:, :3, 3] = torch.randn(5, 3, dtype=torch.float64) * 7
    K = torch.eye(3, dtype=torch.float64).repeat(5, 1, 1)
    K[:, 0, 0], K[:, 1, 1] = 50 + torch.rand(5), 51 + torch.rand(5)
    K[:, 0, 2], K[:, 1, 2] = 31.7, 24.2
    return Cameras(c2w, K, (48, 64))


@pytest.fixture
def shared_cameras(cameras: Cameras) -> Cameras:
    """The same, float32, with one set of intrinsics."""
    return Cameras(cameras.c2w, cameras.K[:1].expand(5, 3, 3), cameras.size).to(torch.float32)


@pytest.fixture(params=[0, 1, 2, 3, 4])
def gaussians(request: pytest.FixtureRequest) -> Gaussians:
    """A hundred Gaussians of every degree of spherical harmonics."""
    torch.manual_seed(2)
    quats = torch.nn.functional.normalize(torch.randn(100, 4), dim=-1)
    sh = torch.randn(100, (request.param + 1) ** 2, 3)
    return Gaussians(torch.randn(100, 3) * 3, torch.rand(100, 3) * 0.3 + 1e-4, quats, torch.rand(100), sh)


@pytest.fixture
def levels() -> Tensor:
    """Five images [5, 3, 48, 64] whose values are whole 8-bit levels, so that PNG keeps them exactly."""
    torch.manual_seed(3)
    return torch.randint(0, 256, (5, 3, 48, 64)) / 255.0
