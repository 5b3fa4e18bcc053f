"""Distances, rotations and covariances."""

import pytest
import torch

from stages.geometry import covariances, distance_to_cameras, quaternion_product, quaternions, rotations
from stages.scene import Cameras


def test_distances_are_to_the_nearest_camera() -> None:
    c2w = torch.eye(4).repeat(2, 1, 1)
    c2w[1, 0, 3] = 1.0
    two = Cameras(c2w, torch.eye(3).repeat(2, 1, 1), (4, 4))
    assert distance_to_cameras(torch.tensor([[1.0, 0, 2]]), two).tolist() == pytest.approx([2.0])


def test_distances_to_a_long_path_are_those_to_each_of_its_cameras() -> None:
    generator = torch.Generator().manual_seed(0)
    c2w = torch.eye(4).repeat(40, 1, 1)
    c2w[:, :3, 3] = torch.randn(40, 3, generator=generator)
    points, cameras = torch.randn(50, 3, generator=generator), Cameras(c2w, torch.eye(3).repeat(40, 1, 1), (4, 4))
    each = torch.stack([distance_to_cameras(points, cameras[[k]]) for k in range(40)])
    assert torch.equal(distance_to_cameras(points, cameras), each.amin(0))


def test_quaternions_and_rotations_are_inverse() -> None:
    quats = torch.nn.functional.normalize(
        torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=1
    )
    again = quaternions(rotations(quats))
    torch.testing.assert_close(again * (again * quats).sum(1, keepdim=True).sign(), quats)


def test_the_product_of_quaternions_turns_by_the_second_and_then_by_the_first() -> None:
    a, b = torch.randn(2, 50, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(rotations(quaternion_product(a, b)), rotations(a) @ rotations(b))


def test_covariances_have_the_squared_scales_along_the_turned_axes() -> None:
    quats = torch.tensor([[2**-0.5, 0.0, 0.0, 2**-0.5]])  # a quarter turn about z
    torch.testing.assert_close(
        covariances(quats, torch.tensor([[1.0, 2.0, 3.0]])), torch.diag(torch.tensor([4.0, 1.0, 9.0]))[None]
    )
