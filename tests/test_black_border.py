"""A black border belongs to the image: it is found where it is one, stays in the frames, and leaves the scene."""

import pytest
import torch
from torch import Generator, Tensor

from stages.black_border import black_border, keep_border
from stages.scene import Cameras, Clip


def photographs(top: int = 0, side: int = 0) -> Tensor:
    """Two bright photographs of 24 x 32 px, with black rows at top and bottom and black columns at the sides."""
    images = 0.3 + 0.7 * torch.rand(2, 3, 24, 32, generator=Generator().manual_seed(0))
    if top:
        images[:, :, :top], images[:, :, -top:] = 0.02, 0.02
    if side:
        images[:, :, :, :side], images[:, :, :, -side:] = 0.0, 0.0
    return images


@pytest.mark.parametrize(("top", "side"), [(3, 0), (0, 4), (2, 2)])
def test_a_letterbox_is_found_to_the_pixel(top: int, side: int) -> None:
    border = black_border(photographs(top, side))
    expected = torch.ones(24, 32, dtype=torch.bool)
    expected[top : 24 - top, side : 32 - side] = False
    assert torch.equal(border, expected)


def test_what_is_dark_in_the_place_is_none() -> None:
    night = photographs()
    night[:, :, :10] = 0.01  # a sky: along one side only
    assert not black_border(night).any()
    inside = photographs()
    inside[:, :, 8:16, 8:16] = 0
    assert not black_border(inside).any()
    moved = photographs(top=3)
    moved[1, :, :3] = 0.5  # black in one photograph only
    assert not black_border(moved).any()
    assert not black_border(photographs(top=3))[3:-3].any()
    assert not black_border(torch.zeros(2, 3, 24, 32)).any()


def test_frames_keep_the_border_and_nothing_else_changes() -> None:
    images = photographs(top=3)
    cameras = Cameras(torch.eye(4).repeat(5, 1, 1), torch.eye(3).repeat(5, 1, 1), (24, 32))
    clip = Clip(torch.full((5, 3, 24, 32), 0.5), cameras, torch.ones(5, 24, 32), 8.0)
    kept = keep_border(clip, images)
    assert torch.allclose(kept.frames[:, :, :3], torch.tensor(0.02))
    assert torch.equal(kept.frames[:, :, 3:-3], clip.frames[:, :, 3:-3])
    assert keep_border(clip, photographs()) is clip
    assert keep_border(clip, photographs(top=3)[..., :16]) is clip  # of another size
