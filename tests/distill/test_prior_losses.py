"""The losses of the prior mean what they say."""

import pytest
import torch
from torch import Generator

from stages.distill.prior_losses import (
    covisible,
    edge_error,
    gap_error,
    inverse_depth_error,
    picture_error,
    plane_cross_entropy,
)
from stages.prior.plane_sweep import inverse_depths

ONES = torch.ones(1, 2, 4, 4)
NEAR_FAR = torch.tensor([[[1.0, 10.0], [2.0, 5.0]]])
PLANES = inverse_depths(NEAR_FAR, 80, 16)  # 64 uniform from far to near, then 16 nearer ones


def test_inverse_depth_error_counts_planes() -> None:
    truth = torch.full((1, 2, 4, 4), 4.0)
    assert inverse_depth_error(truth, truth, PLANES, 16, ONES) == 0
    plane = (1 - 0.1) / 63
    off = 1 / (1 / truth[:, :1] + 3 * plane)  # three planes away in the first view
    error = inverse_depth_error(torch.cat([off, truth[:, 1:]], 1), truth, PLANES, 16, ONES)
    assert error == pytest.approx((3 - 0.5) / 2, rel=1e-4)  # Huber beyond 1: |e| - 0.5, the second view adds nothing


def test_cross_entropy_is_least_at_the_true_plane() -> None:
    truth = 1 / torch.full((1, 2, 2, 2), 0.1 + 0.9 * 20.25 / 63)  # between planes 20 and 21 of the first view
    right = torch.full((1, 2, 80, 2, 2), -30.0)
    right[:, :, 20], right[:, :, 21] = torch.tensor(0.75).log(), torch.tensor(0.25).log()
    entropy = -(0.75 * torch.tensor(0.75).log() + 0.25 * torch.tensor(0.25).log())
    first = plane_cross_entropy(right[:, :1], truth[:, :1], PLANES[:, :1], ONES[:, :1, :2, :2])
    assert first == pytest.approx(float(entropy), abs=1e-3)
    unsure = plane_cross_entropy(torch.zeros(1, 1, 80, 2, 2), truth[:, :1], PLANES[:, :1], ONES[:, :1, :2, :2])
    assert unsure == pytest.approx(torch.tensor(80.0).log().item(), rel=1e-4)


def test_covisible_finds_what_leaves_the_frame_and_what_is_hidden() -> None:
    """A wall at z = 2 and a post at z = 1 in the middle; the second camera stands 0.5 to the right."""
    K = torch.tensor([[[32.0, 0, 32], [0, 32, 8], [0, 0, 1]]])
    c2w = torch.eye(4).repeat(1, 2, 1, 1)
    c2w[:, 1, 0, 3] = 0.5
    depth = torch.full((1, 2, 16, 64), 2.0)
    depth[0, 0, :, 30:34] = 1.0  # the post moves by 32 * 0.5 / 1 = 16 px to the left, the wall by 8
    depth[0, 1, :, 14:18] = 1.0
    seen = covisible(depth, c2w, K)[0]
    assert seen[0, :, :8].max() == 0, "the left edge leaves the second frame"
    assert seen[0, :, 8:22].min() == 1
    assert seen[0, :, 30:].min() == 1
    assert seen[0, :, 23:25].max() == 0, "hidden behind the post in the second view"
    assert seen[1, :, -7:].max() == 0, "the right edge of the second view lies outside the first"


def test_picture_error_is_zero_only_for_equal_pictures() -> None:
    picture = torch.rand(2, 3, 24, 24, generator=Generator().manual_seed(0))
    assert picture_error(picture, picture) == pytest.approx(0, abs=1e-6)
    assert picture_error(picture, picture.flip(-1)) > 0.2


def test_edge_error_sees_a_blurred_step_and_not_another_scale() -> None:
    truth = torch.ones(1, 2, 16, 32)
    truth[..., 16:] = 1.6
    planes = inverse_depths(torch.tensor([[[0.5, 10.0]] * 2]), 80, 16)
    assert edge_error(1.3 * truth, truth, planes) == pytest.approx(0, abs=1e-6)
    blurred = truth.clone()
    blurred[..., 14:18] = torch.linspace(1, 1.6, 4)
    assert edge_error(blurred, truth, planes) > 0.01


def test_gap_error_counts_thin_surfaces_and_no_holes() -> None:
    alpha = torch.tensor([[[1.0, 0.8], [0.0, 0.4]]])
    assert gap_error(alpha) == pytest.approx(0.2 / 4)
