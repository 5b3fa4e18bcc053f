"""The exported PLY, read by plyfile and drawn by gsplat's torch functions, is the picture that we draw."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.files.ply import write_ply
from stages.metrics.image import psnr
from stages.scene import Cameras, Gaussians
from stages.splat import draw

gsplat = pytest.importorskip("gsplat.cuda._torch_impl")
plyfile = pytest.importorskip("plyfile")
SIZE = (48, 64)


def scene(degree: int) -> Gaussians:
    g = torch.Generator().manual_seed(degree)
    count = 400
    means = (torch.rand(count, 3, generator=g) - 0.5) * torch.tensor([3.0, 2.4, 2.0]) + torch.tensor([0.0, 0, 2.5])
    scales = 0.02 + 0.15 * torch.rand(count, 3, generator=g) ** 3
    sh = 0.3 * torch.randn(count, (degree + 1) ** 2, 3, generator=g)
    return Gaussians(means, scales, torch.randn(count, 4, generator=g), torch.rand(count, generator=g), sh)


def drawn_by_others(path: Path, cameras: Cameras, degree: int) -> Tensor:
    """[1, 3, h, w], as the 3DGS paper has it: every pixel blends all Gaussians in order of depth."""
    vertex = plyfile.PlyData.read(str(path))["vertex"]
    column = lambda *names: torch.from_numpy(np.stack([np.asarray(vertex[name], np.float32) for name in names], 1))  # noqa: E731
    means, quats = column("x", "y", "z"), column(*(f"rot_{k}" for k in range(4)))
    opacities, scales = column("opacity")[:, 0].sigmoid(), column("scale_0", "scale_1", "scale_2").exp()
    rest = (
        column(*(f"f_rest_{k}" for k in range(3 * ((degree + 1) ** 2 - 1)))).reshape(len(means), 3, -1).mT
        if degree
        else means[:, None][:, :0]
    )
    sh = torch.cat([column("f_dc_0", "f_dc_1", "f_dc_2")[:, None], rest], 1)
    height, width = SIZE
    covariance = gsplat._quat_scale_to_covar_preci(quats, scales, True, False)[0]
    views = cameras.w2c.float()
    radii, means2d, depths, conics, _ = gsplat._fully_fused_projection(
        means, covariance, views, cameras.K, width, height
    )
    colours = (gsplat._spherical_harmonics(degree, means - cameras.c2w[0, :3, 3], sh) + 0.5).clamp_min(0)
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    image, left = torch.zeros(3, height, width), torch.ones(height, width)
    for k in depths[0].argsort().tolist():
        if depths[0, k] < 0.01 or not bool((radii[0, k] > 0).all()):
            continue
        dx, dy = x - means2d[0, k, 0], y - means2d[0, k, 1]
        a, b, c = conics[0, k]
        alpha = (opacities[k] * torch.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)).clamp_max(0.999)
        alpha = torch.where(alpha < 1 / 255, 0, alpha)
        image += left * alpha * colours[k][:, None, None]
        left = left * (1 - alpha)
    return image[None]


@pytest.mark.parametrize("degree", [0, 3])
def test_the_ply_is_our_picture_in_other_hands(degree: int, tmp_path: Path) -> None:
    gaussians = scene(degree)
    write_ply(tmp_path / "gaussians.ply", gaussians, [])
    c2w = torch.eye(4)[None].clone()
    c2w[0, :3, 3] = torch.tensor([0.1, -0.1, -0.2])
    cameras = Cameras(c2w, torch.tensor([[[60.0, 0, 31], [0, 62, 25], [0, 0, 1]]]), SIZE)
    ours = draw(gaussians, cameras).image
    assert float(ours.std()) > 0.1
    assert float(psnr(drawn_by_others(tmp_path / "gaussians.ply", cameras, degree), ours)) > 50
