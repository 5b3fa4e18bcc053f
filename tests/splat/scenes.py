"""Random scenes made to be difficult, and comparison against the float64 reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from stages.splat import reference

# Smallest and largest standard deviation, scene units. A needle's other two axes are a hundredth of it. The scene is
# about 3 units away and 44 pixels wide.
SCALES = {
    "wide": (0.02, 0.5),
    "needle": (0.1, 1.5),
    "tiny": (0.001, 0.02),
    "huge": (0.5, 4.0),
    "transparent": (0.02, 0.5),
}
# Pixels closer than this to a decision (alpha = 1/255, T = 1e-4) are not compared.
MARGIN = 1e-4


@dataclass(frozen=True, eq=False)
class Scene:
    """Gaussians with harmonics, and cameras; the field names are rasterization's."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    sh: Tensor
    viewmats: Tensor
    Ks: Tensor
    width: int = 44
    height: int = 36

    LEAVES = ("means", "quats", "scales", "opacities", "sh", "viewmats")

    def leaves(self, dtype: torch.dtype) -> dict[str, Tensor]:
        return {name: getattr(self, name).to(dtype).clone().requires_grad_() for name in self.LEAVES}

    def arguments(self, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
        tensors = {name: getattr(self, name).to(dtype) for name in (*self.LEAVES, "Ks")}
        return {**tensors, "width": self.width, "height": self.height}

    def change(self, **changes: Any) -> Scene:
        return replace(self, **changes)


def look_at(eye: Tensor, target: Tensor) -> Tensor:
    """World-to-camera matrix, OpenCV axes, y down."""
    z = torch.nn.functional.normalize(target - eye, dim=0)
    x = torch.nn.functional.normalize(torch.linalg.cross(eye.new_tensor([0.0, 1.0, 0.0]), z), dim=0)
    view = torch.eye(4, dtype=eye.dtype)
    view[:3, :3] = torch.stack([x, torch.linalg.cross(z, x), z])
    view[:3, 3] = -view[:3, :3] @ eye
    return view


def _distinct(means: Tensor, viewmats: Tensor) -> Tensor:
    """Gaussians whose depths differ enough, in all cameras, that float32 cannot change their order."""
    keep = torch.ones(len(means), dtype=torch.bool)
    for view in viewmats:
        depth, order = torch.sort(means @ view[2, :3] + view[2, 3])
        keep[order[1:][depth[1:] - depth[:-1] < 4e-6 * depth[1:].abs().clamp_min(1)]] = False
    return keep


@cache
def random_scene(kind: str = "wide", count: int = 2500, seed: int = 0, degree: int = 3, cameras: int = 1) -> Scene:
    """A tenth lies behind the camera or around the near plane, a tenth off screen; opacities cover 0 to 1."""
    g = torch.Generator().manual_seed(seed)
    f64 = torch.float64
    means = torch.randn(count, 3, generator=g, dtype=f64) * torch.tensor([1.2, 1.2, 0.9], dtype=f64)
    means[:, 2] += 3.0
    tenth = max(count // 10, 1)
    means[:tenth, 2] = torch.linspace(-2.0, 0.2, tenth, dtype=f64)
    means[tenth : 2 * tenth, :2] *= 6.0
    low, high = SCALES[kind]
    opacities = torch.rand(count, generator=g, dtype=f64) * (0.02 if kind == "transparent" else 1.0)
    opacities[-3:] = torch.tensor([0.001, 0.9995, 1.0], dtype=f64)
    eyes = torch.tensor([[0.15, -0.1, -0.2], [-0.4, 0.2, 0.1], [0.5, 0.3, -0.6]], dtype=f64)
    target = torch.tensor([0.0, 0.0, 3.0], dtype=f64)
    quats = torch.randn(count, 4, generator=g, dtype=f64)
    scales = low + (high - low) * torch.rand(count, 3, generator=g, dtype=f64) ** 2
    if kind == "needle":
        scales[:, 1:] *= 0.01
    sh = torch.randn(count, (degree + 1) ** 2, 3, generator=g, dtype=f64) * 0.4
    viewmats = torch.stack([look_at(eyes[i], target) for i in range(cameras)])
    kept = _distinct(means, viewmats)
    return Scene(
        means=means[kept],
        quats=quats[kept],
        scales=scales[kept],
        opacities=opacities[kept],
        sh=sh[kept],
        viewmats=viewmats,
        Ks=torch.tensor([[42.0, 0.0, 21.3], [0.0, 45.0, 17.1], [0.0, 0.0, 1.0]], dtype=f64).expand(cameras, 3, 3),
    )


@dataclass(frozen=True)
class Truth:
    """The reference's answer, and the gradients of image and alpha that a comparison sends back."""

    image: Tensor
    alpha: Tensor
    compared: Tensor
    v_image: Tensor
    v_alpha: Tensor
    gradients: dict[str, Tensor]


def _gradients(
    leaves: dict[str, Tensor], image: Tensor, alpha: Tensor, v_image: Tensor, v_alpha: Tensor
) -> dict[str, Tensor]:
    ((image * v_image.to(image.dtype)).sum() + (alpha * v_alpha.to(alpha.dtype)).sum()).backward()
    return {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


@cache
def truth_of(scene: Scene) -> Truth:
    """Kept, so that several implementations share one evaluation of the slow reference."""
    leaves = scene.leaves(torch.float64)
    image, alpha, margin = reference.rasterization(**leaves, Ks=scene.Ks, width=scene.width, height=scene.height)
    compared = (margin > MARGIN)[..., None]
    g = torch.Generator().manual_seed(7)
    v_image = torch.randn(image.shape, generator=g, dtype=torch.float64) * compared
    v_alpha = torch.randn(alpha.shape, generator=g, dtype=torch.float64) * compared
    gradients = _gradients(leaves, image, alpha, v_image, v_alpha)
    return Truth(image.detach(), alpha.detach(), compared, v_image, v_alpha, gradients)


def errors(render: Callable[..., Any], scene: Scene, dtype: torch.dtype = torch.float32) -> dict[str, float]:
    """Largest errors of `render` against the reference.

    Errors of image and alpha are absolute, but relative to the range of an image beyond [0, 1]. Those of the gradient
    of each leaf are relative to its largest entry or to its norm, whichever is worse.
    """
    truth = truth_of(scene)
    assert truth.compared.double().mean() > 0.9, "the scene leaves too few pixels to compare"
    leaves = scene.leaves(dtype)
    image, alpha = render(**leaves, Ks=scene.Ks.to(dtype), width=scene.width, height=scene.height)
    gradients = _gradients(leaves, image, alpha, truth.v_image, truth.v_alpha)
    found = {
        "image": (((image - truth.image) * truth.compared).abs().max() / truth.image.abs().max().clamp_min(1)).item(),
        "alpha": ((alpha - truth.alpha) * truth.compared).abs().max().item(),
    }
    for name, true in truth.gradients.items():
        wrong = gradients[name].double() - true
        if name == "viewmats":  # the last row of a pose is constant
            wrong, true = wrong[:, :3], true[:, :3]
        found[name] = max((wrong.abs().max() / true.abs().max()).item(), (wrong.norm() / true.norm()).item())
    return found
