"""draw: Gaussians and Cameras in, a Drawing out."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from stages.scene import Cameras, Gaussians
from stages.splat import backend, draw, drawing, near_plane
from tests.splat.scenes import random_scene


def objects(cameras: int, count: int = 600) -> tuple[Gaussians, Cameras]:
    scene = random_scene(count=count, seed=2, degree=1, cameras=cameras)
    gaussians = Gaussians(scene.means, scene.scales, scene.quats, scene.opacities, scene.sh).to(torch.float32)
    return gaussians, Cameras(torch.linalg.inv(scene.viewmats), scene.Ks, (scene.height, scene.width)).to(torch.float32)


def test_shapes_and_meaning(render: Callable[..., Any]) -> None:
    gaussians, cameras = objects(3)
    drawn = draw(gaussians, cameras)
    assert drawn.image.shape == (3, 3, 36, 44)
    assert drawn.alpha.shape == drawn.depth.shape == (3, 36, 44)
    assert (drawn.depth[drawn.alpha == 0] == 0).all()
    solid = drawn.alpha > 0.5
    assert ((drawn.depth[solid] > 0.01) & (drawn.depth[solid] < 8)).all()


def test_a_plane_has_its_depth(render: Callable[..., Any]) -> None:
    y, x = torch.meshgrid(torch.linspace(-2, 2, 60), torch.linspace(-2, 2, 60), indexing="ij")
    means = torch.stack([x.flatten(), y.flatten(), torch.full((3600,), 2.5)], 1)
    flat = Gaussians(
        means,
        torch.full((3600, 3), 0.05),
        torch.tensor([[1.0, 0, 0, 0]]).expand(3600, 4),
        torch.full((3600,), 0.9),
        torch.zeros(3600, 1, 3),
    )
    K = torch.tensor([[[30.0, 0.0, 16.0], [0.0, 30.0, 12.0], [0.0, 0.0, 1.0]]])
    drawn = draw(flat, Cameras(torch.eye(4)[None], K, (24, 32)))
    assert torch.allclose(drawn.depth, torch.tensor(2.5), atol=1e-4)
    assert torch.allclose(drawn.image, 0.5 * drawn.alpha[:, None], atol=1e-5)
    assert drawn.alpha.min() > 0.95


def test_a_path_equals_its_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    gaussians, cameras = objects(3)
    monkeypatch.setattr(drawing, "GROUP", 2)
    path = draw(gaussians, cameras, near=0.01)
    for i in range(3):
        frame = draw(gaussians, cameras[i : i + 1], near=0.01)
        for whole, part in zip(
            (path.image, path.alpha, path.depth), (frame.image, frame.alpha, frame.depth), strict=True
        ):
            torch.testing.assert_close(whole[i], part[0], atol=1e-5, rtol=1e-5)


def test_near(render: Callable[..., Any]) -> None:
    gaussians, cameras = objects(1)
    assert draw(gaussians, cameras, near=100.0).alpha.max() == 0


def test_a_place_looks_the_same_in_any_unit_of_length() -> None:
    gaussians, cameras = objects(2)
    c2w = cameras.c2w.clone()
    c2w[:, :3, 3] *= 1024
    large = replace(gaussians, means=gaussians.means * 1024, scales=gaussians.scales * 1024)
    near = near_plane(gaussians.means, cameras)
    assert near_plane(large.means, Cameras(c2w, cameras.K, cameras.size)) == pytest.approx(1024 * near)
    drawn = draw(large, Cameras(c2w, cameras.K, cameras.size))
    torch.testing.assert_close(drawn.image, draw(gaussians, cameras).image, atol=1e-4, rtol=1e-4)


def test_gradients_reach_poses_and_means(render: Callable[..., Any]) -> None:
    gaussians, cameras = objects(2)
    c2w = cameras.c2w.clone().requires_grad_()
    means = gaussians.means.clone().requires_grad_()
    leaves = Gaussians(means, gaussians.scales, gaussians.quats, gaussians.opacities, gaussians.sh)
    drawn = draw(leaves, Cameras(c2w, cameras.K, cameras.size))
    (drawn.image.square().mean() + drawn.depth.mean()).backward()
    for leaf in (c2w, means):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
        assert leaf.grad.abs().max() > 0


def test_backend() -> None:
    assert backend("cpu") in ("c++", "torch")
