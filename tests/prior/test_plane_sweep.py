"""The plane sweep against loops over planes and pixels, values and gradients."""

import math

import pytest
import torch
from torch import Tensor

from stages.prior.plane_sweep import FLAT, GREY, correlate, inverse_depths, patch_similarity, sweep
from tests.prior import slow_sweep


def rotation(yaw: float, pitch: float) -> Tensor:
    turn = [[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]]
    nod = [[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]]
    return torch.tensor(turn, dtype=torch.float64) @ torch.tensor(nod, dtype=torch.float64)


def pose(yaw: float, pitch: float, position: tuple[float, float, float]) -> Tensor:
    c2w = torch.eye(4, dtype=torch.float64)
    c2w[:3, :3] = rotation(yaw, pitch)
    c2w[:3, 3] = torch.tensor(position)
    return c2w


SIZE = (5, 7)
DEPTHS = [8.0, 3.0, 1.7, 0.6]
K_A = torch.tensor([[6.0, 0, 3.3], [0, 5.0, 2.6], [0, 0, 1]], dtype=torch.float64)
K_B = torch.tensor([[7.5, 0, 3.8], [0, 7.0, 2.2], [0, 0, 1]], dtype=torch.float64)
POSES = {
    "sideways": (pose(0, 0, (0, 0, 0)), pose(0.1, -0.05, (0.3, 0.1, 0.05))),
    "the near planes behind the source": (pose(0.2, 0, (0.1, 0, 0)), pose(0.0, 0.1, (0, 0, 1.2))),
    "facing away": (pose(0, 0, (0, 0, 0)), pose(3.0, 0, (0, 0, 0.2))),
}


def fast(a: Tensor, b: Tensor, source_K: Tensor, first: Tensor, second: Tensor, convention: str) -> Tensor:
    inverse_depth = 1 / torch.tensor(DEPTHS, dtype=torch.float64)[None]
    positions, inside = sweep(K_A[None], first[None], source_K[None], second[None], inverse_depth, SIZE, convention)
    matches = correlate(a[None], b[None], positions)[0].T
    return (matches * inside[0] if convention == "z" else matches).view(len(DEPTHS), *SIZE)


@pytest.mark.parametrize("convention", ["z", "ray"])
@pytest.mark.parametrize("poses", POSES)
def test_correlation_and_its_gradients_equal_the_loops(convention: str, poses: str) -> None:
    torch.manual_seed(0)
    a, b = (torch.randn(3, *SIZE, dtype=torch.float64, requires_grad=True) for _ in range(2))
    first, second = POSES[poses]
    second = second.clone().requires_grad_()
    source_K = K_B.clone()

    ours = fast(a, b, source_K, first, second, convention)
    truth = slow_sweep.correlation(a, b, K_A, first, source_K, second, DEPTHS, convention)
    torch.testing.assert_close(ours, truth, rtol=1e-9, atol=1e-9)
    if poses != "facing away":
        assert (truth != 0).float().mean() > 0.05  # there is something to compare

    weights = torch.randn_like(truth)
    for mine, theirs in zip(
        torch.autograd.grad((ours * weights).sum(), (a, b, second), materialize_grads=True),
        torch.autograd.grad((truth * weights).sum(), (a, b, second), materialize_grads=True),
        strict=True,
    ):
        # The loops transpose the rotation where the sweep inverts the pose, which is the same for rigid poses alone.
        if mine.shape == (4, 4):
            mine, theirs = rigid(mine, second), rigid(theirs, second)
        torch.testing.assert_close(mine, theirs, rtol=1e-7, atol=1e-7)


def rigid(gradient: Tensor, c2w: Tensor) -> Tensor:
    """The derivatives along three translations and three rotations of a pose."""
    turned = gradient[:3, :3] @ c2w[:3, :3].detach().mT
    skew = turned - turned.mT
    return torch.cat([gradient[:3, 3], torch.stack([skew[2, 1], skew[0, 2], skew[1, 0]])])


def test_correlation_in_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    a, b = torch.randn(2, 3, *SIZE, dtype=torch.float64).unbind(0)
    whole = fast(a, b, K_B, *POSES["sideways"], "z")
    monkeypatch.setattr("stages.prior.plane_sweep.PAIR_BLOCK", 3 * SIZE[0] * SIZE[1])
    torch.testing.assert_close(fast(a, b, K_B, *POSES["sideways"], "z"), whole)


def test_candidates_are_uniform_in_inverse_depth_from_far_to_near() -> None:
    candidates = inverse_depths(torch.tensor([[1.0, 5.0], [0.5, 100.0]]), 9)
    assert candidates[:, 0].tolist() == pytest.approx([0.2, 0.01])
    assert candidates[:, -1].tolist() == pytest.approx([1.0, 2.0])
    steps = candidates.diff(dim=1)
    torch.testing.assert_close(steps, steps[:, :1].expand_as(steps))


def test_a_point_on_a_plane_lands_where_projection_says() -> None:
    first, second = POSES["sideways"]
    positions, inside = sweep(
        K_A[None], first[None], K_B[None], second[None], torch.tensor([[1 / 3.0]]).double(), SIZE, "z"
    )
    pixel = torch.tensor([4.5, 1.5], dtype=torch.float64)
    x, y, _ = slow_sweep.land(pixel, torch.tensor(3.0).double(), K_A, first, K_B, second)
    assert positions.view(*SIZE, 2)[1, 4].tolist() == pytest.approx([x.item() - 0.5, y.item() - 0.5])
    assert bool(inside.view(SIZE)[1, 4])


def test_patch_similarity_equals_windows_cut_out_by_hand() -> None:
    torch.manual_seed(2)
    h, w = 8, 10
    a, b = torch.rand(2, 3, h, w, dtype=torch.float64).unbind(0)
    positions = torch.rand(2, h * w, 2, dtype=torch.float64) * torch.tensor([w + 2.0, h + 2.0]) - 1.5
    zncc, colour = patch_similarity(a[None], b[None], positions[None], 1)
    assert zncc.shape == colour.shape == (1, 2, h // 2, w // 2)
    grey = torch.tensor(GREY, dtype=torch.float64)
    for plane in range(2):
        at = positions[plane].view(h, w, 2)
        warped = torch.stack(
            [torch.stack([slow_sweep.clamped(b, *at[r, c]) for c in range(w)], 1) for r in range(h)], 1
        )
        for row in range(h // 2):
            for column in range(w // 2):
                rows, columns = slice(max(0, 2 * row - 2), 2 * row + 4), slice(max(0, 2 * column - 2), 2 * column + 4)
                one, two = (torch.einsum("c,chw->hw", grey, x[:, rows, columns]).flatten() for x in (a, warped))
                assert zncc[0, plane, row, column].item() == pytest.approx(
                    slow_sweep.zncc(one, two, FLAT).item(), abs=1e-9
                )
                cell = slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2)
                difference = a[:, *cell].mean((1, 2)) - warped[:, *cell].mean((1, 2))
                assert colour[0, plane, row, column].item() == pytest.approx(-difference.abs().mean().item(), abs=1e-9)


def test_patch_similarity_ignores_brightness_and_contrast_but_not_noise() -> None:
    torch.manual_seed(3)
    h, w = 16, 16
    a = torch.rand(1, 3, h, w)
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    still = torch.stack([x, y], -1).float().view(1, 1, -1, 2)
    same, _ = patch_similarity(a, 0.2 + 0.5 * a, still, 1)
    other, _ = patch_similarity(a, torch.rand(1, 3, h, w), still, 1)
    flat, _ = patch_similarity(torch.full_like(a, 0.5), torch.full_like(a, 0.5), still, 1)
    assert same.min() > 0.97
    assert other.abs().mean() < 0.3
    assert flat.abs().max() < 1e-3
