"""Analytic gradients against finite differences in float64, and bitwise equality whatever the threads."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from stages.scene import colours_to_sh
from stages.splat import cpu, fallback
from stages.splat.dispatch import rasterization
from tests.splat.scenes import Scene, random_scene


def small_scene(seed: int, degree: int = 1) -> Scene:
    """Few pixels, few Gaussians, none near a decision edge of the opacity."""
    scene = random_scene(count=8, seed=seed, degree=degree, cameras=2)
    means = scene.means.clone()
    means[:, :2] *= 0.2
    means[:, 2] = 2.0 + torch.arange(len(means)) * 0.2
    K = torch.tensor([[10.0, 0.0, 4.6], [0.0, 11.0, 3.9], [0.0, 0.0, 1.0]], dtype=torch.float64)
    opacities = 0.2 + 0.6 * scene.opacities
    return scene.change(means=means, opacities=opacities, Ks=K.expand(2, 3, 3), width=9, height=8)


def test_gradcheck(render: Callable[..., Any], implementation: ModuleType) -> None:
    scene = small_scene(seed=0)
    leaves = scene.leaves(torch.float64)
    bottom = leaves.pop("viewmats").detach()[:, 3:]
    upper = scene.viewmats[:, :3].clone().requires_grad_()

    def image_and_alpha(upper: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        arguments = dict(zip(leaves, tensors, strict=True))
        views = torch.cat([upper, bottom], 1)
        image, alpha = render(**arguments, viewmats=views, Ks=scene.Ks, width=scene.width, height=scene.height)
        return image, alpha

    # The fallback, a hundred times slower on so few pixels, gets the check by random projections.
    fast = implementation is fallback
    assert torch.autograd.gradcheck(
        image_and_alpha, (upper, *leaves.values()), eps=1e-6, atol=1e-5, rtol=1e-3, fast_mode=fast
    )


def test_harmonics_gradcheck(implementation: ModuleType) -> None:
    g = torch.Generator().manual_seed(0)
    means = torch.randn(5, 3, generator=g, dtype=torch.float64, requires_grad=True)
    centres = torch.randn(2, 3, generator=g, dtype=torch.float64, requires_grad=True)
    coefficients = torch.randn(5, 25, 3, generator=g, dtype=torch.float64, requires_grad=True)
    radii = torch.ones(2, 5, 2, dtype=torch.int32)
    radii[1, 2] = 0
    assert torch.autograd.gradcheck(lambda *x: implementation.harmonics(*x, radii), (means, centres, coefficients))


def gradients(scene: Scene) -> list[Tensor]:
    leaves = scene.leaves(torch.float32)
    image, alpha = rasterization(**leaves, Ks=scene.Ks.float(), width=scene.width, height=scene.height)
    weights = torch.linspace(-1, 1, image.numel()).reshape(image.shape)
    ((image * weights).sum() + alpha.square().sum()).backward()
    found = [leaf.grad for leaf in leaves.values()]
    return [image.detach(), alpha.detach(), *(g for g in found if g is not None)]


@pytest.fixture
def threads() -> Any:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("kind", ["wide", "tiny"])
def test_bitwise_equal_for_any_number_of_threads(
    monkeypatch: pytest.MonkeyPatch, threads: Callable[[int], None], kind: str
) -> None:
    monkeypatch.setattr(cpu, "MIN_PARALLEL", 0)
    scene = random_scene(kind, count=8000, cameras=3)
    threads(1)
    expected = gradients(scene)
    assert len(expected) == 8
    for count in (2, 3, 5):
        threads(count)
        assert all(torch.equal(a, b) for a, b in zip(expected, gradients(scene), strict=True)), f"{count} threads"


def test_fewer_threads_than_asked_for(tmp_path: Path) -> None:
    """OpenMP may grant fewer, and every share of the work must still be done."""
    code = f"""
import torch
from stages.splat import cpu
from tests.splat.scenes import random_scene
from tests.splat.test_gradients import gradients
cpu.MIN_PARALLEL = 0
torch.set_num_threads(4)
torch.save(gradients(random_scene(count=500)), {str(tmp_path / "found.pt")!r})
"""
    environment = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=Path(__file__).parents[2])
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    assert all(torch.equal(a, b) for a, b in zip(found, gradients(random_scene(count=500)), strict=True))


@pytest.mark.parametrize("kind", ["wide", "huge"])
def test_small_backward_buffers(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Working through the image in bands changes no sum but its rounding."""
    scene = random_scene(kind, count=2000, cameras=3).change(width=200, height=170)
    expected = gradients(scene)
    for limit in (1, 200_000):
        monkeypatch.setattr(cpu, "SLOT_BYTES", limit)
        for a, b in zip(expected, gradients(scene), strict=True):
            assert (a - b).norm() <= 2e-6 * a.norm()


def test_a_fit_converges() -> None:
    """Adam recovers a picture from perturbed Gaussians, 200 steps."""
    g = torch.Generator().manual_seed(0)
    n, size = 500, 64
    means = torch.cat([torch.rand(n, 2, generator=g) * 2 - 1, 2 + torch.rand(n, 1, generator=g)], 1)
    truth = {
        "means": means,
        "quats": torch.randn(n, 4, generator=g),
        "scales": 0.03 + 0.1 * torch.rand(n, 3, generator=g),
        "opacities": 0.3 + 0.6 * torch.rand(n, generator=g),
        "sh": colours_to_sh(torch.rand(n, 3, generator=g)),
    }
    K = torch.tensor([[[64.0, 0.0, 32.0], [0.0, 64.0, 32.0], [0.0, 0.0, 1.0]]])
    camera = {"viewmats": torch.eye(4)[None], "Ks": K, "width": size, "height": size}
    target = rasterization(**truth, **camera)[0][..., :3]
    guess = {
        name: (t + 0.1 * t.std() * torch.randn(t.shape, generator=g)).requires_grad_() for name, t in truth.items()
    }
    guess["sh"] = torch.zeros(n, 1, 3, requires_grad=True)
    optimiser = torch.optim.Adam([{"params": [t], "lr": 0.06 if name == "sh" else 0.002} for name, t in guess.items()])

    def psnr() -> float:
        with torch.no_grad():
            return float(-10 * (rasterization(**guess, **camera)[0][..., :3] - target).square().mean().log10())

    before = psnr()
    for _ in range(200):
        optimiser.zero_grad()
        (rasterization(**guess, **camera)[0][..., :3] - target).square().mean().backward()
        optimiser.step()
    assert before < 20
    assert psnr() > 35
