"""The sizes of the result and of the networks' images."""

import pytest
import torch

from stages.geometry import project
from stages.scene import Cameras, Views
from stages.sizes import network_size, result_size, with_small_images


@pytest.mark.parametrize(
    ("photograph", "short_side", "expected"),
    [
        ((3024, 4032), 480, (480, 640)),
        ((4032, 3024), 480, (640, 480)),
        ((2000, 3000), 480, (480, 720)),
        ((1080, 1920), 480, (480, 854)),  # even, so 480 x 853.3 is not reached exactly
        ((256, 384), 480, (256, 384)),  # never above the photograph
        ((301, 401), 480, (300, 400)),  # even sides: one pixel is cropped
        ((3024, 4032), None, (3024, 4032)),
        ((101, 77), None, (100, 76)),
    ],
)
def test_the_result_keeps_the_proportions_and_is_never_above_the_photograph(
    photograph: tuple[int, int], short_side: int | None, expected: tuple[int, int]
) -> None:
    assert result_size(photograph, short_side) == expected


def test_networks_work_in_256_pixels_or_less() -> None:
    assert network_size((480, 640)) == (256, 341)
    assert network_size((640, 480)) == (341, 256)
    assert network_size((200, 300)) == (200, 300)
    assert network_size((480, 720), 480) == (480, 720)


def test_small_images_show_the_same() -> None:
    K = torch.tensor([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]).repeat(2, 1, 1)
    column = torch.arange(640.0) / 640
    images = column.expand(2, 3, 480, 640).contiguous()
    views = with_small_images(Views(images, Cameras(torch.eye(4).repeat(2, 1, 1), K, (480, 640))))
    assert views.cameras.size == (256, 341)
    assert views.size == (480, 640)
    assert views.full is not None
    assert torch.equal(views.full.images, images)
    point = torch.tensor([[0.3, -0.2, 2.0]])
    small, _ = project(point, views.cameras.K[0], torch.eye(4))
    large, _ = project(point, K[0], torch.eye(4))
    assert torch.allclose(small / torch.tensor([341.0, 256]), large / torch.tensor([640.0, 480]), atol=1e-6)
    middle = (torch.arange(341) + 0.5) / 341 - 0.5 / 640
    assert torch.allclose(views.images[0, 0, 100, 5:-5], middle[5:-5], atol=2e-3)


def test_images_that_are_small_stay_as_they_are() -> None:
    views = Views(
        torch.rand(2, 3, 96, 128), Cameras(torch.eye(4).repeat(2, 1, 1), torch.eye(3).repeat(2, 1, 1), (96, 128))
    )
    assert with_small_images(views) is views
