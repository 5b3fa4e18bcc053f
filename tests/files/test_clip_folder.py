import json
from pathlib import Path

import pytest
import torch

from stages.errors import InputError
from stages.files.clip_folder import read_clip, read_views, write_clip, write_views
from stages.files.images import write_png
from stages.files.stored_clip import StoredClip
from stages.files.transforms import read_transforms
from stages.files.video import read_mp4
from stages.scene import Cameras, Clip, Views


@pytest.mark.parametrize("with_coverage", [True, False])
def test_clip_round_trip_is_exact(
    tmp_path: Path, shared_cameras: Cameras, levels: torch.Tensor, with_coverage: bool
) -> None:
    clip = Clip(levels, shared_cameras, levels[:, 0] if with_coverage else None, 12.5)
    write_clip(tmp_path / "render", StoredClip.of(clip))
    again = read_clip(tmp_path / "render").clip()
    assert torch.equal(again.frames, clip.frames)
    assert again.fps == 12.5
    assert torch.equal(again.cameras.c2w, clip.cameras.c2w)
    assert torch.equal(again.cameras.K, clip.cameras.K)
    assert again.frames.dtype == again.cameras.c2w.dtype == again.cameras.K.dtype == torch.float32
    if with_coverage:
        assert again.coverage is not None
        assert torch.equal(again.coverage, levels[:, 0])
    else:
        assert again.coverage is None
        assert not (tmp_path / "render" / "alpha").exists()


def test_the_depth_of_a_clip_is_kept_to_16_bits(tmp_path: Path, shared_cameras: Cameras, levels: torch.Tensor) -> None:
    depth = 10 * levels[:, 1]
    write_clip(tmp_path / "render", StoredClip.of(Clip(levels, shared_cameras, levels[:, 0], depth=depth)))
    again = read_clip(tmp_path / "render").clip().depth
    assert again is not None
    torch.testing.assert_close(again, depth, atol=10 / 65535, rtol=0)
    (tmp_path / "render" / "depth" / "0002.png").unlink()
    with pytest.raises(InputError, match="0002"):
        read_clip(tmp_path / "render")


def test_layout_on_disk(tmp_path: Path, shared_cameras: Cameras, levels: torch.Tensor) -> None:
    write_clip(tmp_path, StoredClip.of(Clip(levels, shared_cameras, levels[:, 0])))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alpha", "frames", "transforms.json", "video.mp4"]
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == [f"{i:04d}.png" for i in range(5)]
    assert read_transforms(tmp_path / "transforms.json")[1] == [f"frames/{i:04d}.png" for i in range(5)]
    assert read_mp4(tmp_path / "video.mp4").shape == (5, 3, 48, 64)


def test_does_not_mix_with_frames_of_an_earlier_run(
    tmp_path: Path, shared_cameras: Cameras, levels: torch.Tensor
) -> None:
    write_clip(tmp_path, StoredClip.of(Clip(levels, shared_cameras)))
    with pytest.raises(InputError, match="File exists"):
        write_clip(tmp_path, StoredClip.of(Clip(levels[:2], shared_cameras[:2])))


def test_refuses_damaged_clips(tmp_path: Path, shared_cameras: Cameras, levels: torch.Tensor) -> None:
    clip = Clip(levels, shared_cameras, levels[:, 0])

    def fresh(name: str) -> Path:
        write_clip(tmp_path / name, StoredClip.of(clip))
        return tmp_path / name

    (fresh("a") / "frames" / "0003.png").unlink()
    with pytest.raises(InputError, match="4 images for 5"):
        read_clip(tmp_path / "a")
    (fresh("b") / "alpha" / "0004.png").unlink()
    with pytest.raises(InputError, match="4 images for 5"):
        read_clip(tmp_path / "b")
    write_png(fresh("c") / "frames" / "0001.png", levels[0, :, :32])
    with pytest.raises(InputError, match="64 x 32 pixels for a camera of 64 x 48"):
        read_clip(tmp_path / "c")
    write_png(fresh("d") / "alpha" / "0001.png", levels[0])
    with pytest.raises(InputError, match="8-bit grey"):
        read_clip(tmp_path / "d")
    document = json.loads((fresh("e") / "transforms.json").read_text())
    (tmp_path / "e" / "transforms.json").write_text(json.dumps(document | {"fps": "fast"}))
    with pytest.raises(InputError, match="fps is fast"):
        read_clip(tmp_path / "e")
    with pytest.raises(InputError, match="no such file"):
        read_clip(tmp_path / "none")


def test_views_round_trip(tmp_path: Path, shared_cameras: Cameras, levels: torch.Tensor) -> None:
    depth = levels[:, 0] * 30
    write_views(tmp_path / "plain", Views(levels, shared_cameras))
    again = read_views(tmp_path / "plain")
    assert torch.equal(again.images, levels)
    assert again.depth is None
    assert torch.equal(again.cameras.c2w, shared_cameras.c2w)
    assert torch.equal(again.cameras.K, shared_cameras.K)
    write_views(tmp_path / "deep", Views(levels, shared_cameras, depth))
    again = read_views(tmp_path / "deep")
    assert again.depth is not None
    assert torch.equal(again.depth == 0, depth == 0)
    assert (again.depth - depth).abs().max() <= 30 / 65535 / 2 + 1e-6


def test_reads_real_scenes(posed_scenes: list[Path]) -> None:
    smallest = min(posed_scenes, key=lambda path: len(list((path.parent / "images").iterdir())))
    views = read_views(smallest.parent)
    assert views.images.shape[0] == len(views.cameras)
    assert 0.05 < views.images.mean() < 0.95
