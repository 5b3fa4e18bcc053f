from dataclasses import replace

import pytest
import torch

from stages.errors import InputError, RunError
from stages.scene import Cameras, Clip, Views
from stages.video.one_step import sampler_grid
from stages.video.schedule import CLEAN
from stages.video.small_network import SmallVideo
from stages.video.small_student import extend, small_student
from tests.video.test_small_network import TINY


def scene(frames: int, size: tuple[int, int]) -> tuple[Clip, Views]:
    def cameras(count: int) -> Cameras:
        K = torch.tensor([[50.0, 0, size[1] / 2], [0, 50, size[0] / 2], [0, 0, 1]])
        return Cameras(torch.eye(4).repeat(count, 1, 1), K.repeat(count, 1, 1), size)

    g = torch.Generator().manual_seed(0)
    coverage, depth = torch.rand(frames, *size, generator=g), torch.full((frames, *size), 2.0)
    clip = Clip(torch.rand(frames, 3, *size, generator=g), cameras(frames), coverage, depth=depth)
    return clip, Views(torch.rand(2, 3, *size, generator=g), cameras(2), torch.full((2, *size), 2.0))


def trained() -> SmallVideo:
    torch.manual_seed(0)
    network = SmallVideo(TINY)
    torch.nn.init.normal_(network.head.weight, std=0.02)
    torch.nn.init.normal_(network.stem.weight, std=0.05)
    return network


@pytest.mark.parametrize(
    ("frames", "size", "steps"), [(9, (32, 32), 1), (11, (30, 46), 1), (6, (17, 33), 3), (1, (16, 16), 1)]
)
def test_an_untrained_student_returns_the_render_where_no_photograph_shows_it(
    frames: int, size: tuple[int, int], steps: int
) -> None:
    clip, views = scene(frames, size)
    assert views.depth is not None
    views = replace(views, depth=views.depth / 2)
    out = small_student(SmallVideo(TINY), 459, steps=steps)(clip, views)
    torch.testing.assert_close(out.frames, clip.frames, atol=1e-4, rtol=0)
    assert out.cameras is clip.cameras
    assert out.depth is clip.depth


def test_a_seed_makes_a_clip() -> None:
    clip, views = scene(5, (16, 32))
    network = trained()
    first, again, other = (small_student(network, 459, seed)(clip, views).frames for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    blended = small_student(SmallVideo(TINY), 459)(clip, views).frames
    assert not torch.allclose(first, blended, atol=1e-3)
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1


def test_a_policy_chooses_the_leap() -> None:
    clip, views = scene(5, (16, 32))
    network = trained()
    asked = []

    def policy(latent: torch.Tensor, coverage: torch.Tensor) -> int:
        asked.append((latent.shape, coverage.shape))
        return 700

    out = small_student(network, policy)(clip, views).frames
    assert torch.equal(out, small_student(network, 700)(clip, views).frames)
    assert asked == [((1, 2, 192, 4, 8), (1, 5, 16, 32))]


def test_the_grid_of_the_sampler() -> None:
    assert sampler_grid(459, 1) == [(459, CLEAN)]
    assert sampler_grid(400, 4) == [(400, 300), (300, 200), (200, 100), (100, CLEAN)]
    assert all(t > s for t, s in sampler_grid(50, 50))


def test_clips_are_extended_to_what_the_codec_takes() -> None:
    frames = torch.rand(11, 3, 17, 32)
    out = extend(frames)
    assert out.shape == (13, 3, 32, 32)
    torch.testing.assert_close(out[12, :, :17], frames[10])
    torch.testing.assert_close(out[:11, :, 20], frames[:, :, 16])
    assert extend(torch.rand(2, 3, 16, 16), still=True).shape == (2, 3, 16, 16)


@pytest.mark.parametrize(("leap", "steps"), [(0, 1), (1000, 1), (459, 0)])
def test_samplers_that_cannot_be_are_refused(leap: int, steps: int) -> None:
    with pytest.raises(InputError):
        small_student(SmallVideo(TINY), leap, steps=steps)


@pytest.mark.parametrize("lacking", ["coverage", "depth"])
def test_a_clip_without_coverage_or_depth_is_refused(lacking: str) -> None:
    clip, views = scene(5, (16, 16))
    with pytest.raises(InputError, match="no coverage or no depth"):
        small_student(SmallVideo(TINY), 459)(replace(clip, **{lacking: None}), views)


def test_photographs_without_depth_are_refused() -> None:
    clip, views = scene(5, (16, 16))
    with pytest.raises(InputError, match="they have no depth"):
        small_student(SmallVideo(TINY), 459)(clip, replace(views, depth=None))


def test_broken_weights_are_noticed() -> None:
    clip, views = scene(5, (16, 16))
    network = SmallVideo(TINY)
    torch.nn.init.constant_(network.head.bias, float("nan"))
    with pytest.raises(RunError, match="NaN"):
        small_student(network, 459)(clip, views)
