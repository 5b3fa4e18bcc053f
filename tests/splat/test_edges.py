"""What is culled, degenerate or refused."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch

from stages.splat import cpu, fallback, rasterization, reference
from tests.splat.scenes import MARGIN, random_scene

Render = Callable[..., Any]


def compare(render: Render, arguments: dict[str, Any], degree: int) -> None:
    truth = reference.rasterization(**arguments, sh_degree=degree)
    image, alpha, _ = render(**arguments, sh_degree=degree)
    kept = (truth.margin > MARGIN)[..., None]
    assert kept.double().mean() > 0.9
    assert ((image - truth.image) * kept).abs().max() < 1e-5
    assert ((alpha - truth.alpha) * kept).abs().max() < 1e-5


def test_huge_gaussians_over_many_tiles(render: Render) -> None:
    """More than 64 tiles each: tested when they are filled, not when they are planned."""
    arguments = random_scene("huge", count=30, degree=0).arguments()
    arguments |= {"width": 400, "height": 300, "opacities": arguments["opacities"] * 0.3}
    arguments["Ks"] = torch.tensor([[[300.0, 0.0, 200.0], [0.0, 300.0, 150.0], [0.0, 0.0, 1.0]]])
    arguments["scales"] *= torch.tensor([1.0, 0.05, 0.3])
    compare(render, arguments, 0)


def test_around_the_near_plane(render: Render) -> None:
    scene = random_scene(count=200, degree=0)
    arguments = scene.arguments()
    n = len(arguments["means"])
    arguments["means"] = arguments["means"] * 0.01
    arguments["means"][:, 2] = torch.linspace(0.0, 0.06, n)
    arguments["scales"] = arguments["scales"] * 0.003
    arguments["viewmats"] = torch.eye(4)[None]
    compare(render, arguments, 0)


def test_equal_depths_keep_their_order(render: Render) -> None:
    arguments = random_scene(count=60, degree=0).arguments()
    arguments["means"][:] = torch.tensor([0.1, 0.0, 2.0])
    compare(render, arguments, 0)
    flipped = {**arguments, "colors": arguments["colors"].flip(0)}
    assert not torch.equal(render(**arguments, sh_degree=0)[0], render(**flipped, sh_degree=0)[0])


def test_planes_and_radius_clip(render: Render) -> None:
    arguments = random_scene(count=500, degree=0).arguments()
    _, _, everything = render(**arguments, sh_degree=0)
    _, _, meta = render(**arguments, sh_degree=0, near_plane=2.0, far_plane=3.0, radius_clip=4.0)
    seen, before = (meta["radii"] > 0).all(-1), (everything["radii"] > 0).all(-1)
    between = (everything["depths"] >= 2) & (everything["depths"] <= 3)
    large = (everything["radii"] > 4).any(-1)
    assert torch.equal(seen, before & between & large)
    assert 0 < seen.sum() < before.sum()


@pytest.mark.parametrize("backgrounds", [None, torch.tensor([[0.2, 0.4, 0.6]])])
def test_nothing_to_draw(render: Render, backgrounds: torch.Tensor | None) -> None:
    empty = {
        name: torch.zeros(0, *shape)
        for name, shape in {"means": (3,), "quats": (4,), "scales": (3,), "opacities": (), "colors": (4, 3)}.items()
    }
    camera = {"viewmats": torch.eye(4)[None], "Ks": torch.eye(3)[None] * 20, "width": 33, "height": 17}
    image, alpha, _ = render(**empty, **camera, sh_degree=1, backgrounds=backgrounds, render_mode="RGB+ED")
    assert image.shape == (1, 17, 33, 4)
    assert alpha.abs().max() == 0
    expected = torch.zeros(3) if backgrounds is None else backgrounds[0]
    assert (image[..., :3] == expected).all()
    assert (image[..., 3] == 0).all()


def test_all_behind_the_camera(render: Render) -> None:
    arguments = random_scene(count=100).arguments()
    arguments["means"][:, 2] = -5.0
    arguments["backgrounds"] = None
    leaf = arguments["means"].requires_grad_()
    image, alpha, meta = render(**arguments, sh_degree=3)
    (image.sum() + alpha.sum()).backward()
    assert image.abs().max() == 0
    assert (meta["radii"] == 0).all()
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
    whole = {k: v[1:] for k, v in scene.arguments().items() if k in ("means", "quats", "scales", "opacities", "colors")}
    rest = {k: v for k, v in scene.arguments().items() if k not in whole}
    leaves = scene.leaves(torch.float32)
    with torch.no_grad():
        leaves[name][0] = value
    broken = {k: leaves[k] for k in whole}
    image, alpha, _ = render(**broken, **rest, sh_degree=2)
    expected = render(**whole, **rest, sh_degree=2)
    assert torch.equal(image, expected[0])
    (image.square().sum() + alpha.sum()).backward()
    for k in whole:
        gradient = broken[k].grad
        assert gradient is not None
        assert gradient.isfinite().all(), k
        assert (gradient[0] == 0).all(), k
        assert gradient.abs().max() > 0, k


def test_backgrounds_fill_what_is_left(render: Render) -> None:
    arguments = random_scene("tiny", count=50, degree=0).arguments()
    dark = {**arguments, "backgrounds": torch.zeros(1, 3)}
    image, alpha, _ = render(**arguments, sh_degree=0)
    assert torch.allclose(image, render(**dark, sh_degree=0)[0] + (1 - alpha) * arguments["backgrounds"][:, None, None], atol=1e-6)


def test_no_gradient_keeps_nothing() -> None:
    with torch.no_grad():
        image, _, meta = rasterization(**{**random_scene(count=100).arguments()}, sh_degree=3)
    assert image.grad_fn is None
    assert meta["means2d"].grad_fn is None


@pytest.mark.parametrize(
    "option",
    [
        {"distributed": True},
        {"camera_model": "fisheye"},
        {"covars": torch.eye(3)[None]},
        {"with_ut": True},
        {"radial_coeffs": torch.zeros(1, 4)},
    ],
    ids=lambda option: next(iter(option)),
)
def test_what_only_cuda_can_do_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(NotImplementedError, match=next(iter(option))):
        rasterization(**random_scene(count=10).arguments(), sh_degree=3, **option)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quats": torch.zeros(3, 4)}, "quats"),
        ({"opacities": torch.zeros(10, 1)}, "opacities"),
        ({"colors": torch.zeros(10, 3)}, "harmonics"),
        ({"Ks": torch.zeros(3, 3)}, "Ks"),
        ({"backgrounds": torch.zeros(1, 4)}, "backgrounds"),
        ({"means": torch.zeros(10, 3, dtype=torch.float16)}, "float16"),
        ({"sh_degree": 5}, "sh_degree"),
        ({"render_mode": "depth"}, "render_mode"),
        ({"rasterize_mode": "sharp"}, "rasterize_mode"),
        ({"width": 0}, "width"),
        ({"height": 70000}, "height"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_arguments(changes: dict[str, Any], message: str) -> None:
    scene = random_scene(count=10).arguments()
    arguments = {"sh_degree": 3, **{k: v[:10] if k in ("means", "quats", "scales", "opacities", "colors") else v for k, v in scene.items()}}
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
        image: torch.Tensor = rasterization(**arguments, sh_degree=3)[0]
        return image

    difference = (draw(cpu) - draw(fallback)).abs()
    assert difference.mean() < 1e-5
    assert difference.median() < 1e-6
