import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stages.distill.clip_shards import length, read
from stages.distill.clips_of_recordings import PosedFolder, crop_frames, find_recordings, recorded_clip, write_shard
from stages.errors import InputError
from stages.files.images import write_png
from stages.files.transforms import write_transforms
from stages.geometry import pixel_centres
from stages.prior.config import SMALL
from stages.prior.network import MVSplat
from stages.scene import Cameras

SIZE, FRAMES, FOCAL, DEPTH = (48, 80), 7, 60.0, 2.0


def wall(shift: float) -> torch.Tensor:
    """A textured wall seen from `shift` to the right of the middle, [3, h, w]."""
    x, y, _ = pixel_centres(*SIZE, like=torch.zeros(())).unbind(-1)
    place = (x - SIZE[1] / 2) * DEPTH / FOCAL + shift, y * DEPTH / FOCAL
    waves = [torch.sin(a * place[0] + b * place[1]) for a, b in ((9.0, 2.0), (-4.0, 11.0), (5.0, -7.0))]
    return torch.stack(waves) / 2 + 0.5


def poses(count: int) -> torch.Tensor:
    c2w = torch.eye(4).repeat(count, 1, 1)
    c2w[:, 0, 3] = 0.1 * torch.arange(count)
    return c2w


def save_scene(folder: Path, count: int = FRAMES) -> Path:
    K = torch.tensor([[FOCAL, 0, SIZE[1] / 2], [0, FOCAL, SIZE[0] / 2], [0, 0, 1]]).repeat(count, 1, 1)
    names = [f"images/{k}.png" for k in range(count)]
    for k, name in enumerate(names):
        write_png(folder / name, wall(0.1 * k))
    write_transforms(folder / "transforms.json", Cameras(poses(count), K, SIZE), names)
    return folder


def save_chunk(path: Path, count: int = FRAMES) -> Path:
    def encoded(image: torch.Tensor) -> torch.Tensor:
        buffer = io.BytesIO()
        Image.fromarray((image.permute(1, 2, 0).numpy() * 255).astype(np.uint8)).save(buffer, "JPEG", quality=95)
        return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)

    head = torch.tensor([FOCAL / SIZE[1], FOCAL / SIZE[0], 0.5, 0.5, 0, 0]).repeat(count, 1)
    cameras = torch.cat([head, torch.linalg.inv(poses(count))[:, :3].flatten(1)], 1)
    scene = {
        "key": "a",
        "url": "",
        "timestamps": torch.arange(count),
        "cameras": cameras,
        "images": [encoded(wall(0.1 * k)) for k in range(count)],
    }
    torch.save([scene], path)
    return path


@pytest.fixture(scope="module")
def network() -> MVSplat:
    torch.manual_seed(0)
    return MVSplat(SMALL).eval()


def test_sources_are_found(tmp_path: Path) -> None:
    save_scene(tmp_path / "scenes" / "one")
    save_scene(tmp_path / "scenes" / "two")
    chunk = save_chunk(tmp_path / "000000.torch")
    counts = [
        len(find_recordings(source)) for source in (tmp_path / "scenes", tmp_path / "scenes" / "one", chunk, tmp_path)
    ]
    assert counts == [2, 1, 1, 1]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no recordings"):
        find_recordings(tmp_path / "empty")


def test_both_sources_tell_the_same(tmp_path: Path) -> None:
    (folder,), (recording,) = (
        find_recordings(save_scene(tmp_path / "scene")),
        find_recordings(save_chunk(tmp_path / "0.torch")),
    )
    for index in (0, 4):
        assert float((folder.image(index) - recording.image(index)).abs().mean()) < 0.03  # JPEG
        ours, theirs = folder.cameras([index], SIZE), recording.cameras([index], SIZE)
        torch.testing.assert_close(ours.c2w, theirs.c2w, atol=1e-5, rtol=0)
        torch.testing.assert_close(ours.K, theirs.K, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(32, 32), (32, 64), (48, 48), (64, 96)])
def test_a_cut_keeps_its_cameras(tmp_path: Path, size: tuple[int, int]) -> None:
    (folder,) = find_recordings(save_scene(tmp_path / "scene"))
    images, cameras = crop_frames(folder, [0, 2], size)
    assert images.shape == (2, 3, *size)
    scale = float(cameras.K[0, 0, 0]) / FOCAL
    assert scale == pytest.approx(max(size[0] / SIZE[0], size[1] / SIZE[1]), rel=0.03)
    # The principal point is still where the middle of the wall is.
    assert cameras.K[0, :2, 2].tolist() == pytest.approx([size[1] / 2, size[0] / 2], abs=0.6)


def test_a_clip_begins_and_ends_with_the_photographs(tmp_path: Path, network: MVSplat) -> None:
    (folder,) = find_recordings(save_scene(tmp_path / "scene"))
    made = recorded_clip(folder, network, torch.Generator().manual_seed(0), (32, 64), 5)
    assert made is not None
    assert torch.equal(made.photographs, made.truth[[0, -1]])
    whole = crop_frames(folder, list(range(FRAMES)), (32, 64))[0]
    assert any(torch.equal(made.truth, whole[start : start + 5]) for start in range(3))
    assert made.render.shape == (5, 3, 32, 64)


def test_a_recording_that_is_too_short_or_stands_still_gives_no_clip(tmp_path: Path, network: MVSplat) -> None:
    (folder,) = find_recordings(save_scene(tmp_path / "scene"))
    g = torch.Generator().manual_seed(0)
    assert recorded_clip(folder, network, g, (32, 32), 9) is None
    assert isinstance(folder, PosedFolder)
    still = PosedFolder(Cameras(folder.own.c2w[:1].expand(FRAMES, 4, 4), folder.own.K, SIZE), folder.paths)
    assert recorded_clip(still, network, g, (32, 32), 5) is None


def test_a_shard_of_recordings(tmp_path: Path, network: MVSplat) -> None:
    recordings = find_recordings(save_chunk(tmp_path / "0.torch"))
    path = write_shard(tmp_path / "clips", recordings, network, 0, 2, (32, 48), 5, clips=1)
    assert path.name == "00002.safetensors"
    assert length(path) == 1
    assert read(path, 0).truth.shape == (5, 3, 32, 48)
    with pytest.raises(InputError, match="cannot make training clips"):
        write_shard(tmp_path / "clips", recordings, network, 0, 0, (32, 48), 9, clips=1)
