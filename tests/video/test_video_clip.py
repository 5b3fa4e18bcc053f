"""A render that becomes a video file: no more is kept than it needs, and its frames are those of a scene folder."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from stages.files.stored_clip import StoredClip
from stages.pipeline import repair_clip, repair_video
from stages.scene import Cameras, Clip, Views
from stages.video.full_size import Student
from stages.video.video_clip import VideoClip, VideoFrames, frames_in_memory
from tests.video.test_full_size import large, views


def in_parts(clip: StoredClip, size: int = 2) -> Iterator[StoredClip]:
    for first in range(0, len(clip.cameras), size):
        which = list(range(first, min(first + size, len(clip.cameras))))
        yield StoredClip.of(clip.clip(which), clip.unit)


def brighter(small: Clip, _: Views) -> Clip:
    """A student whose change differs from frame to frame."""
    steps = torch.linspace(0, 0.2, len(small.cameras)).view(-1, 1, 1, 1)
    return replace(small, frames=small.frames + steps, leap=459)


def middle_alone(small: Clip, _: Views) -> Clip:
    K = small.cameras.K.clone()
    K[:, 0, 2] -= 4
    cameras = Cameras(small.cameras.c2w, K, (32, small.cameras.size[1] - 8))
    return Clip(small.frames[..., 4:-4] + 0.1, cameras)


def test_what_is_kept_of_parts_is_what_is_kept_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.video.full_size.MOST_FRAMES", 4)
    clip = large(7)
    whole, parts = VideoClip.of(clip, 32), VideoClip.joined(in_parts(clip), clip.cameras, 32)
    assert whole.small is not None
    assert parts.small is not None
    for name in ("frames", "coverage", "depth"):
        assert torch.equal(getattr(parts.small, name), getattr(whole.small, name)), name
    assert torch.equal(parts.small.cameras.c2w, whole.small.cameras.c2w)
    assert len(parts.small.cameras) == 4
    assert torch.equal(parts.clip.frames, clip.frames)
    for kept in (whole, parts):
        assert kept.clip.coverage is None
        assert kept.clip.depth is None
    assert VideoClip.joined(in_parts(clip), clip.cameras, None).small is None


@pytest.mark.parametrize("student", [Student(brighter, 32), Student(middle_alone, 32), Student(brighter, 96), None])
@pytest.mark.parametrize("most", [49, 4])
def test_a_video_has_the_frames_of_the_scene_folder(
    student: Student | None, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.video.full_size.MOST_FRAMES", most)
    clip = large(7)
    folder = repair_clip(clip, views(clip), student)
    kept = VideoClip.joined(in_parts(clip), clip.cameras, None if student is None else student.short_side)
    video = repair_video(kept, views(clip), student)
    assert torch.equal(frames_in_memory(video), folder.frames)
    assert video.shape == tuple(folder.frames.shape)
    assert (video.leap, video.fps) == (folder.leap, folder.fps)


def test_frames_of_a_video_are_made_one_by_one() -> None:
    clip, asked = large(3), []
    video = repair_video(VideoClip.of(clip, 32), views(clip), Student(brighter, 32))
    for frame in video:
        asked.append(frame)
        assert frame.shape == clip.frames.shape[1:]
    assert len(asked) == 3
    assert not torch.equal(video.clip.frames, torch.stack(asked)), "the clip itself stays the render"
    assert VideoFrames(clip, None).leap is None
