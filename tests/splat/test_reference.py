"""Values within 1e-4 and gradients within 1e-3 of the float64 reference, on thousands of difficult Gaussians."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from stages.splat import reference
from tests.splat.scenes import SCALES, errors, random_scene


def check(found: dict[str, float]) -> None:
    assert found["image"] < 1e-4, found
    assert found["alpha"] < 1e-4, found
    assert all(error < 1e-3 for error in found.values()), found
    assert {"means", "quats", "scales", "opacities", "viewmats"} <= found.keys()


@pytest.mark.parametrize("kind", SCALES)
def test_difficult_scenes(render: Callable[..., Any], kind: str) -> None:
    check(errors(render, random_scene(kind)))


@pytest.mark.parametrize("degree", [0, 4])
def test_harmonics_degrees(render: Callable[..., Any], degree: int) -> None:
    check(errors(render, random_scene(count=1000, degree=degree, seed=3)))


def test_cameras_in_one_call(render: Callable[..., Any]) -> None:
    """The gradient of a batch is the sum over its cameras; poses have gradients of their own."""
    check(errors(render, random_scene(count=1000, seed=6, cameras=3)))


def test_float64_is_exact(render: Callable[..., Any]) -> None:
    found = errors(render, random_scene(count=1000, seed=7, cameras=2), torch.float64)
    assert max(found.values()) < 1e-9, found


def test_reference_harmonics_are_orthonormal() -> None:
    """The reference's own check, by integrals over the sphere (Gauss-Legendre and uniform angles are exact here)."""
    nodes, weights = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(8))
    angle = torch.arange(16, dtype=torch.float64) * (2 * torch.pi / 16)
    ring = (1 - nodes**2).sqrt()
    directions = torch.stack(
        [ring[:, None] * angle.cos(), ring[:, None] * angle.sin(), nodes[:, None].expand(-1, 16)], -1
    )
    basis = reference.spherical_harmonics(4, directions.reshape(-1, 3))
    measure = (weights[:, None] * (2 * torch.pi / 16)).expand(-1, 16).reshape(-1)
    gram = torch.einsum("p,pi,pj->ij", measure, basis, basis)
    assert torch.allclose(gram, torch.eye(25, dtype=torch.float64), atol=1e-12)
