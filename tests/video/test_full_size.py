"""A student that works on small copies of some frames of a large clip."""

from dataclasses import replace

import pytest
import torch

from stages.files.stored_clip import StoredClip
from stages.scene import Cameras, Clip, Views
from stages.video.full_size import Student, key_frames, repair_stored, small_clip


def large(frames: int, size: tuple[int, int] = (96, 128)) -> StoredClip:
    """Smooth colours with fine noise on them."""
    h, w = size
    c2w, K = torch.eye(4).repeat(frames, 1, 1), torch.tensor([[w, 0, w / 2], [0, w, h / 2], [0, 0, 1]])
    c2w[:, 0, 3] = torch.arange(frames)
    smooth = torch.linspace(0.3, 0.6, w).expand(frames, 3, h, w)
    noise = 0.1 * (torch.rand(frames, 3, h, w) - 0.5)
    cameras = Cameras(c2w, K.repeat(frames, 1, 1), size)
    return StoredClip.of(Clip(smooth + noise, cameras, torch.ones(frames, h, w), depth=torch.full((frames, h, w), 2.0)))


def views(clip: StoredClip) -> Views:
    return Views(clip.clip([0, 1]).frames, clip.cameras[[0, 1]])


def test_key_frames_are_all_or_49_of_them_spread_evenly() -> None:
    assert key_frames(1) == [0]
    assert key_frames(49) == list(range(49))
    assert key_frames(145) == list(range(0, 145, 3))
    assert key_frames(100)[0] == 0
    assert key_frames(100)[-1] == 99
    assert len(set(key_frames(100))) == 49


def test_a_student_that_changes_nothing_changes_nothing() -> None:
    clip = large(3)
    kept = repair_stored(clip, views(clip), Student(lambda small, _: small, 32))
    assert (kept.frames.int() - clip.frames.int()).abs().max() == 0


def test_the_change_is_added_and_the_detail_stays() -> None:
    clip, seen = large(3), []

    def brighter(small: Clip, _: Views) -> Clip:
        seen.append(small)
        return replace(small, frames=small.frames + 0.1, leap=459)

    made = repair_stored(clip, views(clip), Student(brighter, 32))
    assert seen[0].cameras.size == (32, 43)
    assert made.leap == 459
    assert torch.allclose(made.clip().frames, clip.clip().frames + 0.1, atol=2 / 255)
    assert torch.equal(made.coverage, clip.coverage)  # type: ignore[arg-type]
    assert torch.equal(made.depth, clip.depth)  # type: ignore[arg-type]


def test_a_student_that_likes_the_size_decides_every_pixel() -> None:
    clip = large(3, (32, 40))
    made = repair_stored(clip, views(clip), Student(lambda small, _: replace(small, frames=1 - small.frames), 32))
    assert torch.equal(made.frames, 255 - clip.frames)


def test_frames_between_key_frames_change_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.video.full_size.MOST_FRAMES", 3)
    clip = large(5)
    steps = torch.tensor([0.0, 0.1, 0.2]).view(3, 1, 1, 1)
    made = repair_stored(clip, views(clip), Student(lambda small, _: replace(small, frames=small.frames + steps), 32))
    change = (made.clip().frames - clip.clip().frames).mean((1, 2, 3))
    assert torch.allclose(change, torch.tensor([0.0, 0.05, 0.1, 0.15, 0.2]), atol=2e-3)


def test_a_student_may_repair_the_middle_alone() -> None:
    clip = large(3)

    def middle(small: Clip, _: Views) -> Clip:
        K = small.cameras.K.clone()
        K[:, 0, 2] -= 4
        cameras = Cameras(small.cameras.c2w, K, (32, small.cameras.size[1] - 8))
        return Clip(small.frames[..., 4:-4] + 0.1, cameras)

    made = repair_stored(clip, views(clip), Student(middle, 32))
    h, w = made.cameras.size
    assert h == 96
    assert w in (102, 104)
    left = (128 - w) // 2
    assert torch.allclose(made.clip().frames, clip.clip().frames[..., left : left + w] + 0.1, atol=3 / 255)
    assert float(clip.cameras.K[0, 0, 2] - made.cameras.K[0, 0, 2]) == left


def test_small_clips_do_not_mix_depths() -> None:
    clip = large(2)
    depth = torch.full((2, 96, 128), 2.0)
    depth[:, :, 64:] = 8.0
    small = small_clip(StoredClip.of(replace(clip.clip(), depth=depth)), (32, 43))
    assert small.depth is not None
    assert ((small.depth - 2).abs().minimum((small.depth - 8).abs()) < 1e-3).all()
    assert small.coverage is not None
    assert torch.allclose(small.coverage, torch.ones(2, 32, 43), atol=1e-5)
