"""Clips in 8 bits: nothing changes between memory and files, and parts are joined as they come."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stages.errors import InputError, RunError
from stages.files.clip_folder import read_clip, read_views, views_as_in_folder, write_clip, write_views
from stages.files.stored_clip import StoredClip
from stages.scene import Cameras, Clip, Exposure, Views
from stages.sizes import with_small_images


@pytest.fixture
def clip(shared_cameras: Cameras) -> Clip:
    frames, depth = torch.rand(5, 3, 48, 64), torch.rand(5, 48, 64) * 9
    depth[:, :4] = 0
    return Clip(frames, shared_cameras, torch.rand(5, 48, 64), 12.0, depth, 300)


def test_a_stored_clip_equals_the_one_that_is_read_from_its_folder(tmp_path: Path, clip: Clip) -> None:
    stored = StoredClip.of(clip)
    write_clip(tmp_path / "clip", stored)
    again = read_clip(tmp_path / "clip")
    for name in ("frames", "coverage", "depth"):
        assert torch.equal(getattr(again, name), getattr(stored, name)), name
    assert (again.fps, again.unit, again.leap) == (12.0, stored.unit, 300)
    floats = stored.clip()
    assert torch.allclose(floats.frames, clip.frames, atol=0.51 / 255)
    assert floats.depth is not None
    assert clip.depth is not None
    assert torch.equal(floats.depth == 0, clip.depth == 0)
    assert (floats.depth - clip.depth).abs().max() <= 9 / 65535
    same = StoredClip.of(floats)
    assert torch.equal(same.frames, stored.frames)
    assert torch.equal(StoredClip.of(same.clip()).depth, same.depth), "a stored clip does not change"


def test_parts_are_joined_as_they_come(clip: Clip) -> None:
    def part(rows: slice) -> Clip:
        assert clip.coverage is not None
        assert clip.depth is not None
        return replace(
            clip,
            frames=clip.frames[rows],
            cameras=clip.cameras[rows],
            coverage=clip.coverage[rows],
            depth=clip.depth[rows],
        )

    whole = StoredClip.of(clip, 2e-4)
    stored = (StoredClip.of(part(rows), 2e-4) for rows in (slice(0, 2), slice(2, 5)))
    parts = StoredClip.joined(stored, clip.cameras)
    for name in ("frames", "coverage", "depth"):
        assert torch.equal(getattr(parts, name), getattr(whole, name)), name
    some = whole.clip([3, 1])
    assert torch.equal(some.frames, whole.clip().frames[[3, 1]])


def test_bad_clips_are_refused(clip: Clip) -> None:
    with pytest.raises(RunError, match="NaN"):
        StoredClip.of(replace(clip, frames=clip.frames * torch.nan))
    stored = StoredClip.of(clip)
    with pytest.raises(InputError, match="coverage has shape"):
        replace(stored, coverage=stored.frames)


def test_views_with_small_images_equal_those_that_are_read_from_their_folder(
    tmp_path: Path, shared_cameras: Cameras, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.sizes.NETWORK_SIDE", 31)
    views = with_small_images(Views(torch.rand(5, 3, 48, 64), shared_cameras))
    views = views_as_in_folder(replace(views, depth=torch.rand(5, 31, 41) + 1))
    assert torch.equal(views_as_in_folder(views).images, views.images)
    write_views(tmp_path / "views", views)
    again = read_views(tmp_path / "views")
    assert again.full is not None
    assert views.full is not None
    assert torch.equal(again.full.images, views.full.images)
    assert torch.equal(again.images, views.images)
    assert torch.equal(again.cameras.K, views.cameras.K)
    assert again.depth is not None
    assert torch.equal(again.depth, views.depth)


def test_the_exposure_of_a_render_is_kept_to_the_last_digit(tmp_path: Path, clip: Clip) -> None:
    exposure = Exposure(torch.tensor([1.1, 0.9, 1 / 3]), torch.tensor([0.01, 0.0, -0.02]))
    write_clip(tmp_path / "clip", StoredClip.of(replace(clip, exposure=exposure)))
    again = read_clip(tmp_path / "clip").exposure
    assert again is not None
    assert torch.equal(again.gain, exposure.gain)
    assert torch.equal(again.offset, exposure.offset)
    for bad in ([1.0, 1.0, 1.0], {"gain": [1, 0, 1], "offset": [0, 0, 0]}, {"gain": [1, 1], "offset": [0, 0]}):
        document = json.loads((tmp_path / "clip" / "transforms.json").read_text())
        (tmp_path / "clip" / "transforms.json").write_text(json.dumps(document | {"exposure": bad}))
        with pytest.raises(InputError, match="exposure is"):
            read_clip(tmp_path / "clip")
