from dataclasses import replace

import pytest
import torch

from stages.errors import InputError, RunError
from stages.scene import Clip, Views
from stages.video import cogvideox_student
from stages.video.cogvideox_network import CogVideoX
from stages.video.cogvideox_student import StepSettings, largest_crop, require_frames, student
from tests.video.tiny import scene

SETTINGS = StepSettings(t=549, seed=7)


def test_it_is_a_student(model: CogVideoX) -> None:
    """The middle of a square clip, at the clip's own scale, with cameras and coverage of that middle."""
    clip, views = scene()
    out = student(model, SETTINGS)(clip, views)
    assert out.frames.shape == (9, 3, 42, 64)
    assert out.frames.dtype == torch.float32
    assert 0 <= float(out.frames.min()) < float(out.frames.max()) <= 1
    assert out.coverage is not None
    assert clip.coverage is not None
    assert torch.equal(out.coverage, clip.coverage[:, 11:53])
    assert out.cameras.size == (42, 64)
    assert torch.equal(out.cameras.K[0, :2, 2], torch.tensor([32.0, 21.0]))
    assert torch.equal(out.cameras.c2w, clip.cameras.c2w)
    assert out.fps == clip.fps


def test_the_seed_decides_every_bit(model: CogVideoX) -> None:
    clip, views = scene()
    torch.manual_seed(0)
    first = student(model, SETTINGS)(clip, views).frames
    torch.manual_seed(1)
    assert torch.equal(student(model, SETTINGS)(clip, views).frames, first)
    assert not torch.equal(student(model, replace(SETTINGS, seed=8))(clip, views).frames, first)


def test_the_leap_step_and_the_number_of_steps_matter(model: CogVideoX) -> None:
    clip, views = scene(size=(32, 48))
    first, *others = (
        student(model, replace(SETTINGS, **change))(clip, views).frames for change in ({}, {"t": 459}, {"steps": 2})
    )
    assert all(float((first - other).abs().max()) > 1e-4 for other in others)


def test_the_condition_is_the_two_photographs(model: CogVideoX, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without noise, the latents of the photographs go in as they are."""
    clip, views = scene(size=(32, 48))
    inputs = []

    def backbone(self: CogVideoX, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        inputs.append(x)
        return x[:, :, :16]

    encode = CogVideoX.encode
    monkeypatch.setattr(CogVideoX, "__call__", backbone)
    monkeypatch.setattr(CogVideoX, "encode", lambda self, video, generator: encode(self, video, None))
    monkeypatch.setattr(cogvideox_student, "sample_sigma", lambda generator, like: like.new_zeros(1))
    student(model, SETTINGS)(clip, views)
    with torch.no_grad():
        first, last = (model.encode(2 * image[None, :, None] - 1, None) for image in views.images)
    torch.testing.assert_close(inputs[0][:, :1, 16:], first)
    torch.testing.assert_close(inputs[0][:, -1:, 16:], last)
    assert not inputs[0][:, 1:-1, 16:].any()


@pytest.mark.parametrize(("frames", "why"), [(5, "takes 9 frames, the clip has 5"), (13, "has 13")])
def test_another_number_of_frames(model: CogVideoX, frames: int, why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        student(model, SETTINGS)(*scene(frames))
    assert caught.value.hint == "render with --frames 9"


def test_the_released_network_takes_49_frames() -> None:
    require_frames(49)
    with pytest.raises(InputError, match="takes 49 frames, the clip has 25"):
        require_frames(25)


def test_another_number_of_photographs(model: CogVideoX) -> None:
    clip, views = scene()
    three = Views(views.images[[0, 1, 0]], views.cameras[[0, 1, 0]])
    with pytest.raises(InputError, match="3 photographs"):
        student(model, SETTINGS)(clip, three)


@pytest.mark.parametrize("t", [-1, 1000])
def test_a_step_that_does_not_exist(t: int) -> None:
    with pytest.raises(InputError, match="bad leap step"):
        StepSettings(t)


def test_nan_is_an_error(model: CogVideoX, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, views = scene()
    monkeypatch.setattr(CogVideoX, "__call__", lambda self, x, t: x[:, :, :16] * torch.nan)
    with pytest.raises(RunError, match="NaN"):
        student(model, SETTINGS)(clip, views)


def test_a_clip_without_coverage(model: CogVideoX) -> None:
    clip, views = scene()
    out = student(model, SETTINGS)(Clip(clip.frames, clip.cameras, None, clip.fps), views)
    assert out.coverage is None


@pytest.mark.parametrize(
    ("size", "crop"),
    [
        ((480, 720), (0, 0, 480, 720)),
        ((256, 256), (43, 0, 170, 256)),
        ((256, 448), (0, 32, 256, 384)),
        ((512, 288), (160, 0, 192, 288)),
        ((256, 384), (0, 0, 256, 384)),
    ],
)
def test_crop(size: tuple[int, int], crop: tuple[int, int, int, int]) -> None:
    assert largest_crop(size, (480, 720)) == crop
