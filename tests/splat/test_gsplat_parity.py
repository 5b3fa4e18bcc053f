"""gsplat's own torch functions, and its CUDA renderer where there is one."""

import inspect
from typing import Any

import pytest
import torch

from stages.splat import cpu, fallback, gsplat_kernels
from stages.splat.dispatch import rasterization
from tests.splat.scenes import Scene, random_scene

gsplat = pytest.importorskip("gsplat.cuda._torch_impl")


def in_front(scene: Scene, depth: float = 0.3) -> Scene:
    """Without the Gaussians for which gsplat's torch projection returns NaN gradients."""
    view = scene.viewmats[0]
    kept = (scene.means @ view[2, :3] + view[2, 3] > depth).nonzero()[:, 0]
    changes = {name: getattr(scene, name)[kept] for name in ("means", "quats", "scales", "opacities", "sh")}
    return scene.change(**changes)


def conics(factors: torch.Tensor) -> torch.Tensor:
    """Entries xx, xy, yy of the inverse 2D covariances [C, N, 3] in gsplat's form, from what cpu.project returns."""
    root_x, shear, root_y = factors.unbind(-1)
    xx = root_x * root_x
    return torch.stack([xx, -xx * shear, xx * shear * shear + root_y * root_y], -1)


@pytest.mark.parametrize("kind", ["wide", "tiny"])
def test_projection(kind: str) -> None:
    scene = in_front(random_scene(kind))
    leaves = {name: getattr(scene, name).float().requires_grad_() for name in ("means", "quats", "scales")}
    view = scene.viewmats.float().requires_grad_()
    K, n, size = scene.Ks.float(), len(scene.means), (scene.width, scene.height)

    covariance = gsplat._quat_scale_to_covar_preci(leaves["quats"], leaves["scales"], True, False)[0]
    theirs = gsplat._fully_fused_projection(leaves["means"], covariance, view, K, *size)[:-1]
    radii, means2d, depths, factors = cpu.project(*leaves.values(), torch.ones(n), view, K, size, 0.01)
    seen = (radii > 0).all(-1)
    assert seen.sum() > 500
    both = ((radii > 0) & (theirs[0] > 0)).all(-1)
    assert (radii - theirs[0])[
        both
    ].abs().max() <= 1  # theirs takes 3.33 standard deviations, ours what opacity 1 needs

    values = (means2d, depths, conics(factors))
    g = torch.Generator().manual_seed(0)
    weights = [torch.randn(v.shape, generator=g) * seen.reshape(*seen.shape, *[1] * (v.dim() - 2)) for v in values]
    for value, their in zip(values, theirs[1:], strict=True):
        assert torch.allclose(value[seen], their[seen], rtol=1e-4, atol=1e-4 * their[seen].abs().max().item())
    inputs = [*leaves.values(), view]
    our_gradients = torch.autograd.grad(sum((v * w).sum() for v, w in zip(values, weights, strict=True)), inputs)
    their_gradients = torch.autograd.grad(sum((v * w).sum() for v, w in zip(theirs[1:], weights, strict=True)), inputs)
    for mine, their in zip(our_gradients, their_gradients, strict=True):
        upper = slice(0, 3) if mine.dim() == 3 else slice(None)  # a pose's last row is constant
        assert (mine - their)[:, upper].norm() < 1e-3 * their[:, upper].norm()


@pytest.mark.parametrize("degree", range(5))
def test_harmonics(degree: int) -> None:
    g = torch.Generator().manual_seed(degree)
    means, centre = torch.randn(500, 3, generator=g), torch.randn(1, 3, generator=g)
    coefficients = torch.randn(500, (degree + 1) ** 2, 3, generator=g)
    radii = torch.ones(1, 500, 2, dtype=torch.int32)
    expected = (gsplat._spherical_harmonics(degree, means - centre, coefficients) + 0.5).clamp_min(0)
    for implementation in (cpu, fallback):
        assert torch.allclose(implementation.harmonics(means, centre, coefficients, radii)[0], expected, atol=1e-5)


def test_on_cuda_gsplat_is_asked_for_the_same_image(monkeypatch: pytest.MonkeyPatch) -> None:
    from gsplat import rendering

    class OnCuda(torch.Tensor):
        is_cuda = True

    asked: dict[str, Any] = {}
    signature = inspect.signature(rendering.rasterization)

    def noted(*arguments: Any, **options: Any) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
        asked.update(signature.bind(*arguments, **options).arguments)
        return torch.zeros(1, 36, 44, 4), torch.zeros(1, 36, 44, 1), {}

    monkeypatch.setattr(rendering, "rasterization", noted)
    monkeypatch.setattr(gsplat_kernels, "are_loaded", lambda: True)
    given = random_scene(count=20).arguments()
    image, alpha = rasterization(**{**given, "means": given["means"].as_subclass(OnCuda)}, near_plane=0.5)
    assert (image.shape, alpha.shape) == ((1, 36, 44, 4), (1, 36, 44, 1))
    assert asked["colors"] is given["sh"]
    options = ("width", "height", "near_plane", "sh_degree", "render_mode")
    assert [asked[name] for name in options] == [44, 36, 0.5, 3, "RGB+ED"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("kind", ["wide", "tiny", "transparent"])
def test_cuda_renders_the_same(kind: str) -> None:
    arguments = random_scene(kind, cameras=2).arguments()
    on_cpu = rasterization(**arguments)
    moved = {name: value.cuda() if torch.is_tensor(value) else value for name, value in arguments.items()}
    on_gpu = rasterization(**moved)
    for mine, theirs in zip(on_cpu, on_gpu, strict=True):
        difference = (mine - theirs.cpu()).abs()
        assert difference.median() < 1e-5
        assert (difference > 1e-3).double().mean() < 0.01  # pixels on a decision edge
