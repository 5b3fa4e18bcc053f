from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from stages.distill.clip_shards import Example, augment, length, read, sample_clip, subsample_frames, write_clips
from stages.distill.clips_of_worlds import sample_path, world_clip, write_shard
from stages.errors import InputError
from stages.prior.config import SMALL
from stages.prior.network import MVSplat
from stages.worlds import Textures, load_textures
from stages.worlds.photograph import free
from stages.worlds.shards import shard_path


def clip(seed: int = 0, frames: int = 9, size: tuple[int, int] = (32, 48)) -> Example:
    g = torch.Generator().manual_seed(seed)
    truth = torch.rand(frames, 3, *size, generator=g)
    warped, weight = torch.rand(frames, 2, 3, *size, generator=g), torch.rand(frames, 2, *size, generator=g)
    return Example(
        torch.rand(truth.shape, generator=g),
        torch.rand(frames, *size, generator=g),
        truth,
        truth[[0, -1]].clone(),
        warped,
        weight,
    )


@pytest.fixture(scope="module")
def textures() -> Textures:
    return load_textures(None, torch.Generator().manual_seed(0), 0, 6)


@pytest.fixture(scope="module")
def network() -> MVSplat:
    torch.manual_seed(0)
    return MVSplat(SMALL).eval()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = shard_path(tmp_path, 3)
    clips = [clip(0), clip(1)]
    write_clips(path, clips)
    assert length(path) == 2
    for index in range(2):
        back = read(path, index)
        assert back.tensors().keys() == {field.name for field in fields(Example)}
        for name, tensor in clips[index].tensors().items():
            torch.testing.assert_close(back.tensors()[name] / 255, tensor, atol=0.5 / 255 + 1e-6, rtol=0)
    assert read(path, 0, warped=False).tensors().keys() == {"render", "coverage", "truth", "photographs"}


def test_a_damaged_shard_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "00000.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="training clips"):
        read(path, 0)
    with pytest.raises(InputError):
        read(tmp_path / "missing.safetensors", 0)


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    whole = clip()
    with pytest.raises(InputError, match="shapes"):
        replace(whole, coverage=whole.coverage[:5])
    with pytest.raises(InputError, match="shapes"):
        replace(whole, weight=whole.weight[:, :1])


def test_a_draw_is_a_function_of_the_generator(tmp_path: Path) -> None:
    write_clips(shard_path(tmp_path, 0), [clip(0), clip(1)])

    def drawn(seed: int) -> Example:
        return sample_clip([shard_path(tmp_path, 0)], torch.Generator().manual_seed(seed), 5, (16, 64))

    assert drawn(1).truth.shape == (5, 3, 16, 48)
    assert torch.equal(drawn(1).render, drawn(1).render)
    assert len({float(drawn(seed).render.sum()) for seed in range(6)}) == 6


@pytest.mark.parametrize("seed", range(6))
def test_what_is_varied_stays_aligned(seed: int) -> None:
    example = clip()
    truth = example.truth
    warped = torch.stack([truth, 1 - truth], 1)  # the second one is known by being the negative
    same = Example(truth, truth[:, 0], truth, example.photographs, warped, warped[:, :, 0])
    out = augment(same, torch.Generator().manual_seed(seed), (32, 32))
    assert torch.equal(out.render, out.truth)
    assert torch.equal(out.photographs, out.truth[[0, -1]])
    assert any(torch.equal(out.coverage, out.truth[:, channel]) for channel in range(3))
    positive = int(torch.equal(out.warped[:, 1], out.truth))
    assert torch.equal(out.warped[:, positive], out.truth)
    assert torch.equal(out.warped[:, 1 - positive], 1 - out.truth)
    assert any(torch.equal(out.weight[:, positive], out.truth[:, channel]) for channel in range(3))


def test_a_thinner_clip_keeps_both_ends() -> None:
    example = clip()
    short = subsample_frames(example, 5)
    assert torch.equal(short.truth, example.truth[[0, 2, 4, 6, 8]])
    assert torch.equal(short.warped, example.warped[[0, 2, 4, 6, 8]])
    assert subsample_frames(example, 17) is example


def test_a_world_clip(textures: Textures, network: MVSplat) -> None:
    made = world_clip(textures, network, torch.Generator().manual_seed(1), (32, 48), 5, 5)
    assert made.render.shape == (5, 3, 32, 48)
    for field in fields(Example):
        tensor = getattr(made, field.name)
        assert bool(torch.isfinite(tensor).all())
        assert float(tensor.min()) >= 0
        assert float(tensor.max()) <= 1
    # The photographs show what the truth begins and ends with, apart from what cameras add.
    for photograph, nearer, farther in zip(made.photographs, made.truth[[0, -1]], made.truth[[-1, 0]], strict=True):
        assert float((photograph - nearer).abs().mean()) < 0.03
        assert float((photograph - nearer).abs().mean()) < float((photograph - farther).abs().mean())
    # The prior is untrained, but its Gaussians lie in front of the photographs that they were made of.
    assert float(made.coverage.mean()) > 0.5


def test_the_way_is_free(textures: Textures) -> None:
    g = torch.Generator().manual_seed(0)
    for _ in range(3):
        world, cameras = sample_path(textures.count, g, (32, 48), 9)
        assert len(cameras) == 9
        assert all(free(world, place, 0.1) for place in cameras.c2w[:, :3, 3])


def test_a_shard_is_a_function_of_its_number(
    tmp_path: Path, textures: Textures, network: MVSplat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.distill.clips_of_worlds.SIZES", ((32, 48),))
    first = write_shard(tmp_path / "a", textures, None, network, 0, 7, clips=1)
    again = write_shard(tmp_path / "b", textures, None, network, 0, 7, clips=1)
    other = write_shard(tmp_path / "c", textures, None, network, 0, 8, clips=1)
    assert first.read_bytes() == again.read_bytes()
    assert first.read_bytes() != other.read_bytes()
