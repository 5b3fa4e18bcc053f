"""What is culled, degenerate or refused."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch

from stages.splat import cpu, fallback, reference
from stages.splat.dispatch import rasterization
from tests.splat.scenes import MARGIN, random_scene

Render = Callable[..., Any]


def compare(render: Render, arguments: dict[str, Any]) -> None:
    truth = reference.rasterization(**arguments)
    image, alpha = render(**arguments)
    kept = (truth.margin > MARGIN)[..., None]
    assert kept.double().mean() > 0.9
    assert ((image - truth.image) * kept).abs().max() < 1e-5 * truth.image.abs().max()
    assert ((alpha - truth.alpha) * kept).abs().max() < 1e-5


def test_huge_gaussians_over_many_tiles(render: Render) -> None:
    """More than 64 tiles each: tested when they are filled, not when they are planned."""
    arguments = random_scene("huge", count=30, degree=0).arguments()
    arguments |= {"width": 400, "height": 300, "opacities": arguments["opacities"] * 0.3}
    arguments["Ks"] = torch.tensor([[[300.0, 0.0, 200.0], [0.0, 300.0, 150.0], [0.0, 0.0, 1.0]]])
    arguments["scales"] *= torch.tensor([1.0, 0.05, 0.3])
    compare(render, arguments)


def test_around_the_near_plane(render: Render) -> None:
    scene = random_scene(count=200, degree=0)
    arguments = scene.arguments()
    n = len(arguments["means"])
    arguments["means"] = arguments["means"] * 0.01
    arguments["means"][:, 2] = torch.linspace(0.0, 0.06, n)
    arguments["scales"] = arguments["scales"] * 0.003
    arguments["viewmats"] = torch.eye(4)[None]
    compare(render, arguments)


def test_equal_depths_keep_their_order(render: Render) -> None:
    arguments = random_scene(count=60, degree=0).arguments()
    arguments["means"][:] = torch.tensor([0.1, 0.0, 2.0])
    compare(render, arguments)
    flipped = {**arguments, "sh": arguments["sh"].flip(0)}
    assert not torch.equal(render(**arguments)[0], render(**flipped)[0])


def test_near_plane(render: Render) -> None:
    """What lies nearer is as if it were not there."""
    scene = random_scene(count=500, degree=0)
    depth = scene.means @ scene.viewmats[0, 2, :3] + scene.viewmats[0, 2, 3]
    beyond = depth >= 2.0
    assert 50 < beyond.sum() < 450
    names = ("means", "quats", "scales", "opacities", "sh")
    rest = scene.change(**{name: getattr(scene, name)[beyond] for name in names})
    found, expected = render(**scene.arguments(), near_plane=2.0), render(**rest.arguments())
    for part, whole in zip(found, expected, strict=True):
        assert torch.allclose(part, whole, rtol=1e-5, atol=1e-6)


def test_nothing_to_draw(render: Render) -> None:
    shapes = {"means": (3,), "quats": (4,), "scales": (3,), "opacities": (), "sh": (4, 3)}
    empty = {name: torch.zeros(0, *shape) for name, shape in shapes.items()}
    camera = {"viewmats": torch.eye(4)[None], "Ks": torch.eye(3)[None] * 20, "width": 33, "height": 17}
    image, alpha = render(**empty, **camera)
    assert image.shape == (1, 17, 33, 4)
    assert alpha.shape == (1, 17, 33, 1)
    assert alpha.abs().max() == image.abs().max() == 0


def test_all_behind_the_camera(render: Render) -> None:
    arguments = random_scene(count=100).arguments()
    arguments["means"][:, 2] = -5.0
    leaf = arguments["means"].requires_grad_()
    image, alpha = render(**arguments)
    (image.sum() + alpha.sum()).backward()
    assert image.abs().max() == alpha.abs().max() == 0
    assert (leaf.grad == 0).all()


BROKEN = {
    "NaN mean": ("means", float("nan")),
    "infinite mean": ("means", float("inf")),
    "mean in the camera": ("means", 0.0),
    "NaN scale": ("scales", float("nan")),
    "infinite scale": ("scales", float("inf")),
    "zero quaternion": ("quats", 0.0),
    "NaN quaternion": ("quats", float("nan")),
    "NaN opacity": ("opacities", float("nan")),
    "no opacity": ("opacities", 0.0),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_gaussians_are_culled(render: Render, case: str) -> None:
    """They neither show nor spoil the gradients of the others, and their own gradients are 0."""
    name, value = BROKEN[case]
    scene = random_scene(count=300, seed=1, degree=2)
    scene = scene.change(viewmats=torch.eye(4, dtype=torch.float64)[None])
    whole = {k: v[1:] for k, v in scene.arguments().items() if k in ("means", "quats", "scales", "opacities", "sh")}
    rest = {k: v for k, v in scene.arguments().items() if k not in whole}
    leaves = scene.leaves(torch.float32)
    with torch.no_grad():
        leaves[name][0] = value
    broken = {k: leaves[k] for k in whole}
    image, alpha = render(**broken, **rest)
    expected = render(**whole, **rest)
    torch.testing.assert_close(image, expected[0], atol=1e-5, rtol=1e-5)
    (image.square().sum() + alpha.sum()).backward()
    for k in whole:
        gradient = broken[k].grad
        assert gradient is not None
        assert gradient.isfinite().all(), k
        assert (gradient[0] == 0).all(), k
        assert gradient.abs().max() > 0, k


def test_no_gradient_keeps_nothing(render: Render) -> None:
    with torch.no_grad():
        image, alpha = render(**random_scene(count=100).arguments())
    assert image.grad_fn is None
    assert alpha.grad_fn is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quats": torch.zeros(3, 4)}, "quats"),
        ({"opacities": torch.zeros(10, 1)}, "opacities"),
        ({"sh": torch.zeros(10, 5, 3)}, "harmonics"),
        ({"Ks": torch.zeros(3, 3)}, "Ks"),
        ({"viewmats": torch.zeros(0, 4, 4), "Ks": torch.zeros(0, 3, 3)}, "camera"),
        ({"means": torch.zeros(10, 3, dtype=torch.float16)}, "float16"),
        ({"width": 0}, "width"),
        ({"height": 70000}, "height"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_arguments(changes: dict[str, Any], message: str) -> None:
    scene = random_scene(count=10).arguments()
    arguments = {k: v[:10] if k in ("means", "quats", "scales", "opacities", "sh") else v for k, v in scene.items()}
    with pytest.raises(ValueError, match=message):
        rasterization(**{**arguments, **changes})


@pytest.mark.parametrize("kind", ["wide", "needle", "tiny"])
def test_fallback_and_kernel_agree(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a larger image than the reference can afford."""
    arguments = random_scene(kind, count=4000, cameras=2).arguments()
    arguments |= {"width": 150, "height": 110}
    arguments["Ks"] = torch.tensor([[140.0, 0.0, 75.0], [0.0, 140.0, 55.0], [0.0, 0.0, 1.0]]).expand(2, 3, 3)

    def draw(module: ModuleType) -> torch.Tensor:
        monkeypatch.setattr("stages.splat.dispatch._implementation", lambda dtype: module)
        image: torch.Tensor = rasterization(**arguments)[0]
        return image

    difference = (draw(cpu) - draw(fallback)).abs()
    assert difference.mean() < 1e-5
    assert difference.median() < 1e-6


def test_what_went_wrong_in_the_kernel_is_told() -> None:
    def splat_plan() -> None: ...

    with pytest.raises(MemoryError, match="out of memory"):
        cpu._check(1, splat_plan, ())
    with pytest.raises(RuntimeError, match="splat_plan of the Gaussian renderer failed with status 2"):
        cpu._check(2, splat_plan, ())
    assert cpu._check(0, splat_plan, ()) is None
