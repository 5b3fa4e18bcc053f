"""A plain border belongs to the image: it is found where it is one, stays in the frames, and leaves the scene."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from stages.plain_border import SharedBorder, connected_to_the_edge, plain_border, scene_pixels
from stages.scene import Cameras, Views


def photographs(top: int = 0, side: int = 0) -> Tensor:
    """Two bright photographs of 24 x 32 px, with black rows at top and bottom and black columns at the sides."""
    images = 0.3 + 0.7 * torch.rand(2, 3, 24, 32, generator=Generator().manual_seed(0))
    if top:
        images[:, :, :top], images[:, :, -top:] = 0.02, 0.02
    if side:
        images[:, :, :, :side], images[:, :, :, -side:] = 0.02, 0.02
    return images


@pytest.mark.parametrize(("top", "side"), [(3, 0), (0, 4), (2, 2)])
def test_a_letterbox_is_found_to_the_pixel(top: int, side: int) -> None:
    expected = torch.ones(24, 32, dtype=torch.bool)
    expected[top : 24 - top, side : 32 - side] = False
    for border in plain_border(photographs(top, side)):
        assert torch.equal(border, expected)


def test_a_photograph_turned_on_black_has_wedges_and_one_cut_to_a_circle_has_corners() -> None:
    y, x = torch.meshgrid(torch.arange(96) - 47.5, torch.arange(128) - 63.5, indexing="ij")
    bright = 0.3 + 0.7 * torch.rand(3, 96, 128, generator=Generator().manual_seed(1))
    angle = torch.tensor(math.radians(3))
    across, down = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    for inside in ((across.abs() < 62) & (down.abs() < 46), (x / 64) ** 2 + (y / 48) ** 2 < 1.1):
        border = plain_border(torch.where(inside, bright, 0.01)[None])[0]
        assert torch.equal(border, ~inside)


def test_a_bar_with_a_date_on_it_is_found_whole() -> None:
    image = photographs()[:1]
    image[:, :, -6:] = 0.01
    image[:, :, -4:-2, 20:26] = 0.9
    border = plain_border(image)[0]
    assert border[-6:].all()
    assert not border[:-6].any()


def test_a_border_that_jpeg_has_made_uneven_is_found_whole() -> None:
    image = photographs(top=3, side=4)[:1]
    noise = 0.02 * torch.rand(1, 3, 24, 32, generator=Generator().manual_seed(3))
    border = plain_border(torch.where(image < 0.1, noise, image))[0]
    assert torch.equal(border, plain_border(image)[0])


def test_a_border_beside_a_dark_place_is_found_alone() -> None:
    image = photographs(top=4, side=4)[:1]
    image[image < 0.1] = 0
    image[:, :, 4:14, 4:14] = 0.04 + 0.015 * torch.rand(1, 3, 10, 10, generator=Generator().manual_seed(4))
    border = plain_border(image)[0]
    assert border[:4].all()
    assert not border[4:14, 4:14].any()


def test_the_fill_reaches_what_single_steps_reach() -> None:
    for seed, share in enumerate((0.4, 0.5, 0.6, 0.7)):
        black = torch.rand(40, 60, generator=Generator().manual_seed(seed)) < share
        border = torch.zeros_like(black)
        border[[0, -1]], border[:, [0, -1]] = black[[0, -1]], black[:, [0, -1]]
        for _ in range(black.numel()):
            border = (F.max_pool2d(border[None].float(), 3, 1, 1)[0] > 0) & black
        assert torch.equal(connected_to_the_edge(black), border)


@pytest.mark.parametrize("colour", [(1.0, 1.0, 1.0), (0.96, 0.93, 0.86), (0.2, 0.3, 0.9), (0.12, 0.12, 0.12)])
def test_a_frame_of_any_colour_is_found_to_the_pixel(colour: tuple[float, float, float]) -> None:
    image = 0.3 + 0.4 * torch.rand(1, 3, 60, 80, generator=Generator().manual_seed(5))
    frame = torch.ones(60, 80, dtype=torch.bool)
    frame[4:-10, 5:-5] = False  # as of an instant picture
    noise = 0.01 * torch.rand(1, 3, 60, 80, generator=Generator().manual_seed(6))
    framed = torch.where(frame, torch.tensor(colour)[None, :, None, None] - noise, image)
    assert torch.equal(plain_border(framed)[0], frame)


def test_the_bars_of_a_screenshot_may_have_two_colours_and_writing() -> None:
    image = 0.3 + 0.3 * torch.rand(1, 3, 60, 80, generator=Generator().manual_seed(7))
    image[:, :, :6], image[:, :, 2:4, 8:20] = 1.0, 0.0
    image[:, :, -8:], image[:, :, -5:-3, 30:50] = 0.0, 1.0
    bars = torch.zeros(60, 80, dtype=torch.bool)
    bars[:6] = bars[-8:] = True
    assert torch.equal(plain_border(image)[0], bars)


def test_a_white_sky_over_the_sea_and_a_thing_on_white_are_no_border() -> None:
    photograph = 0.2 + 0.4 * torch.rand(1, 3, 60, 80, generator=Generator().manual_seed(8))
    sea = photograph.clone()
    sea[:, :, :20] = 1.0
    assert not plain_border(sea).any()
    y, x = torch.meshgrid(torch.arange(60) - 29.5, torch.arange(80) - 39.5, indexing="ij")
    assert not plain_border(torch.where((x / 40) ** 2 + (y / 30) ** 2 < 0.9, photograph, 1.0)).any()


def test_each_photograph_has_its_own_border() -> None:
    moved = photographs(top=3)
    moved[1] = photographs()[1]
    first, second = plain_border(moved)
    assert first[:3].all()
    assert not second.any()
    usable = scene_pixels(plain_border(moved))
    assert usable[1].all()
    assert not usable[0, :5].any()
    assert usable[0, 5:-5].all()


def test_what_is_dark_in_the_place_is_none() -> None:
    night = photographs()
    for column in range(32):
        night[:, :, : 5 + (7 * column) % 11, column] = 0.01  # a sky above roofs: along one side only
    assert not plain_border(night).any()
    inside = photographs()
    inside[:, :, 8:16, 8:16] = 0
    assert not plain_border(inside).any()
    uneven = photographs(top=3)
    uneven[:, :, :3] = uneven[:, :, -3:] = 0.05 * torch.rand(2, 3, 3, 32, generator=Generator().manual_seed(2))
    assert not plain_border(uneven).any(), "shadows"
    ramp = 0.3 * torch.linspace(0, 1, 60)[:, None].expand(2, 3, 60, 32) ** 2
    assert not plain_border(torch.cat([ramp, ramp.flip(2)], 2)).any(), "a light that fades"
    assert not plain_border(photographs(top=3))[:, 3:-3].any()
    assert not plain_border(torch.zeros(2, 3, 24, 32)).any()


def test_frames_keep_the_border_and_nothing_else_changes() -> None:
    def views(images: Tensor) -> Views:
        size = (images.shape[-2], images.shape[-1])
        return Views(images, Cameras(torch.eye(4).repeat(2, 1, 1), torch.eye(3).repeat(2, 1, 1), size))

    def shared(views: Views) -> SharedBorder | None:
        return SharedBorder.of(views, plain_border(views.images), (24, 32))

    images, frames = photographs(top=3), torch.full((5, 3, 24, 32), 0.5)
    border = shared(views(images))
    assert border is not None
    share = torch.tensor([[1.0, 0.0], [0.75, 0.25], [0.5, 0.5], [0.25, 0.75], [0.0, 1.0]])
    kept = border.laid_over(frames, share)
    assert torch.allclose(kept[:, :, :3], torch.tensor(0.02))
    assert torch.equal(kept[:, :, 5:-5], frames[:, :, 5:-5])
    # Pixels mixed with the border are those of the nearer photograph. So a frame at its camera is the photograph.
    for n, k in ((0, 0), (-1, 1)):
        torch.testing.assert_close(kept[n, :, 3:5], images[k, :, 3:5])
    assert shared(views(photographs())) is None
    assert shared(views(photographs(top=3)[..., :16])) is None, "of another size"
    both = replace(views(images[..., ::2, ::2]), full=views(images))
    large = shared(both)
    assert large is not None
    assert torch.equal(large.mask, border.mask), "the border of the full photographs, in frames of their size"
