"""Rotation of harmonics and the two bases: against upstream's matrices, and as functions of the direction."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from stages.prior.rotate_harmonics import band, rotate, to_standard_basis, wigner


def directions(count: int) -> Tensor:
    torch.manual_seed(0)
    return torch.nn.functional.normalize(torch.randn(count, 3, dtype=torch.float64), dim=-1)


def random_rotation(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    q = q * r.diagonal().sign()
    return q * torch.linalg.det(q).sign()


def y_polar(degree: int, d: Tensor) -> Tensor:
    return band(degree, d[..., [2, 0, 1]])


def upstream_basis(d: Tensor) -> Tensor:
    """The harmonics of 3DGS, written out for degrees 0 to 3. The fifth of degree 3 is as in its backward pass."""
    x, y, z = d.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    c1 = 0.4886025119029199
    c2 = (1.0925484305920792, -1.0925484305920792, 0.31539156525252005, -1.0925484305920792, 0.5462742152960396)
    c3 = (
        -0.5900435899266435,
        2.890611442640554,
        -0.4570457994644658,
        0.3731763325901154,
        -0.4570457994644658,
        1.445305721320277,
        -0.5900435899266435,
    )
    terms = [torch.full_like(x, 0.28209479177387814), -c1 * x, c1 * y, -c1 * z]
    terms += [c2[0] * z * x, c2[1] * x * y, c2[2] * (2 * yy - zz - xx), c2[3] * z * y, c2[4] * (zz - xx)]
    terms += [
        c3[0] * x * (3 * zz - xx),
        c3[1] * z * x * y,
        c3[2] * x * (4 * yy - zz - xx),
        c3[3] * y * (2 * yy - 3 * zz - 3 * xx),
    ]
    terms += [c3[4] * z * (4 * yy - zz - xx), c3[5] * y * (zz - xx), c3[6] * z * (zz - 3 * xx)]
    return torch.stack(terms, -1)


def standard_basis(d: Tensor) -> Tensor:
    """The 3DGS basis: upstream's at the direction turned back, (x, y, z) -> (y, z, x)."""
    return upstream_basis(d[..., [1, 2, 0]])


@pytest.mark.parametrize("degree", range(5))
def test_wigner_matrices_equal_upstreams(degree: int, upstream: Path) -> None:
    golden = load_file(upstream / "mvsplat_golden.safetensors")
    ours = wigner(degree, golden["wigner.R"].double())
    torch.testing.assert_close(ours.float(), golden[f"wigner.D{degree}"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("degree", range(5))
def test_wigner_turns_the_basis(degree: int) -> None:
    rotation, d = random_rotation(degree), directions(50)
    turned = y_polar(degree, d @ rotation.mT)
    torch.testing.assert_close(turned, y_polar(degree, d) @ wigner(degree, rotation).mT, rtol=0, atol=1e-12)
    identity = torch.eye(2 * degree + 1, dtype=torch.float64)
    torch.testing.assert_close(wigner(degree, torch.eye(3, dtype=torch.float64)), identity, rtol=0, atol=1e-12)


def test_first_degree_is_the_rotation_itself() -> None:
    rotation = random_rotation(7)
    torch.testing.assert_close(wigner(1, rotation), rotation)


@pytest.mark.parametrize("degree", range(5))
def test_bands_are_orthogonal_and_of_equal_size(degree: int) -> None:
    weights = torch.linspace(-1, 1, 401, dtype=torch.float64)
    angles = torch.arange(64, dtype=torch.float64) * 2 * torch.pi / 64
    radius = (1 - weights**2).sqrt()[:, None]
    grid = torch.stack([radius * angles.cos(), radius * angles.sin(), weights[:, None].expand(-1, 64)], -1)
    values = band(degree, grid)
    area = torch.ones_like(weights)
    area[1:-1:2], area[2:-1:2] = 4, 2  # Simpson's rule, exact enough for these polynomials
    gram = torch.einsum("z,zai,zaj->ij", area, values, values)
    torch.testing.assert_close(gram / gram[0, 0], torch.eye(2 * degree + 1, dtype=torch.float64), rtol=0, atol=1e-6)


def test_a_higher_degree_is_refused() -> None:
    with pytest.raises(ValueError, match="degree 5"):
        band(5, directions(2))


@pytest.mark.parametrize("degree", range(4))
def test_the_standard_basis_gives_the_same_colours(degree: int) -> None:
    torch.manual_seed(degree)
    count = (degree + 1) ** 2
    harmonics, d = torch.randn(6, count, 3, dtype=torch.float64), directions(40)
    before = torch.einsum("dk,gkc->gdc", upstream_basis(d)[:, :count], harmonics)
    after = torch.einsum("dk,gkc->gdc", standard_basis(d)[:, :count], to_standard_basis(harmonics))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-12)


def test_degree_four_is_dropped_as_upstream_does_not_draw_it() -> None:
    assert to_standard_basis(torch.randn(2, 25, 3)).shape == (2, 16, 3)


def test_rotation_is_differentiable_and_leaves_the_mean_colour() -> None:
    torch.manual_seed(0)
    harmonics = torch.randn(2, 5, 25, 3, dtype=torch.float64)
    rotation = torch.stack([random_rotation(1), random_rotation(2)]).requires_grad_()
    turned = rotate(harmonics, rotation)
    torch.testing.assert_close(turned[..., 0, :], harmonics[..., 0, :])
    torch.testing.assert_close(rotate(turned, rotation.mT), harmonics)
    assert torch.autograd.gradcheck(lambda r: rotate(harmonics[:, :1], r).sum((1, 3)), (rotation,))
