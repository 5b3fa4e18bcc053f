import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXSpatialNorm3D

from stages.video.cogvideox_memory import Memory
from stages.video.cogvideox_network import TRANSFORMER_5B, VAE_5B, CogVideoX, build, rotary, spatial_norm
from tests.video.tiny import FULL, TRANSFORMER, VAE


@pytest.mark.parametrize(("part", "config"), [("transformer", TRANSFORMER_5B), ("vae", VAE_5B)])
def test_full_size_has_exactly_the_released_tensors(part: str, config: dict[str, object], upstream: Path) -> None:
    """Built without memory, on the meta device."""
    expected = json.loads((upstream / f"cogvideox5b_i2v_{part}_keys.json").read_text())
    assert {key: list(tensor.shape) for key, tensor in build(part, config).state_dict().items()} == expected


def test_rotary_table() -> None:
    """The sums of the released code's tables (videoscene/utils.py, prepare_rotary_positional_embeddings)."""
    cos, sin = rotary(SimpleNamespace(**TRANSFORMER_5B), 13, (60, 90))
    assert cos.shape == sin.shape == (17550, 64)
    assert abs(float(cos.double().sum()) - 721837.8514) < 0.05
    assert abs(float(sin.double().sum()) - 181623.8474) < 0.05
    torch.testing.assert_close(
        cos[1000, 16:20], torch.tensor([-0.99996, -0.99996, -0.706173, -0.706173]), rtol=0, atol=2e-5
    )


def test_sizes(model: CogVideoX) -> None:
    assert model.size == (32, 48)
    assert model.frames == 9


@torch.no_grad()
def test_latents_round_trip_in_shape(model: CogVideoX) -> None:
    latent = model.encode(torch.zeros(1, 3, 9, 32, 48), None)
    assert latent.shape == (1, 3, 16, 4, 6)
    assert model.decode(latent).shape == (1, 3, 9, 32, 48)
    assert model.encode(torch.zeros(1, 3, 1, 32, 48), None).shape == (1, 1, 16, 4, 6)


@torch.no_grad()
def test_mode_and_posterior(model: CogVideoX) -> None:
    video = torch.rand(1, 3, 9, 32, 48)
    mode, again = model.encode(video, None), model.encode(video, None)
    one, same, other = (model.encode(video, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(mode, again)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one, mode)


@torch.no_grad()
def test_memory_options_do_not_change_the_result_beyond_rounding() -> None:
    x, t = torch.randn(1, 3, 32, 4, 6), torch.tensor([459])

    def run(memory: Memory) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(0)
        transformer, vae = (
            build(part, config, "cpu").to(memory.dtype) for part, config in (("transformer", TRANSFORMER), ("vae", VAE))
        )
        model = CogVideoX(transformer, vae, torch.ones(1, 4, 8), "cpu", memory)
        v = model(x.to(memory.dtype), t)
        return v, model.decode(v)

    v, frames = run(FULL)
    for memory in (Memory(offload=True, slicing=True), Memory(offload=True, stream=True)):
        moved = run(replace(memory, dtype=torch.float32))
        assert torch.equal(v, moved[0])
        assert torch.equal(frames, moved[1])
    half, half_frames = run(Memory())
    assert half.dtype == half_frames.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), v, rtol=0.1, atol=0.05)


@torch.no_grad()
def test_projections_come_before_the_interpolation() -> None:
    """As in diffusers, where they come after it."""
    torch.manual_seed(0)
    norm = CogVideoXSpatialNorm3D(8, 16, groups=4)
    for frames, latents in ((1, 1), (9, 3), (8, 2)):
        f, zq = torch.randn(2, 8, frames, 12, 20), torch.randn(2, 16, latents, 3, 5)
        expected, _ = norm(f, zq)
        torch.testing.assert_close(spatial_norm(norm, f, zq)[0], expected)


def test_the_decoder_uses_them(monkeypatch: pytest.MonkeyPatch, model: CogVideoX) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("diffusers' order")

    monkeypatch.setattr(CogVideoXSpatialNorm3D, "forward", refuse)
    assert model.decode(torch.zeros(1, 1, 16, 4, 6)).isfinite().all()


@torch.no_grad()
def test_tiles_show_faintly(model: CogVideoX) -> None:
    torch.manual_seed(0)
    vae = build("vae", VAE | {"sample_height": 96, "sample_width": 80}, "cpu").float()  # tiles of 48 x 40
    latent = torch.randn(1, 3, 16, 12, 10)
    whole = CogVideoX(model.transformer, vae, model.prompt, "cpu", FULL).decode(latent)
    tiled = CogVideoX(model.transformer, vae, model.prompt, "cpu", Memory(torch.float32, tiling=True)).decode(latent)
    assert tiled.shape == whole.shape == (1, 3, 9, 96, 80)
    assert 0 < float((tiled - whole).abs().mean()) < 0.5 * float(whole.std())


@torch.no_grad()
def test_autocast_changes_the_products_alone(model: CogVideoX) -> None:
    x, t = torch.randn(1, 3, 32, 4, 6), torch.tensor([459])
    mixed = CogVideoX(model.transformer, model.vae, model.prompt, "cpu", FULL, torch.bfloat16)
    v, plain = mixed(x, t), model(x, t)
    assert v.dtype == torch.float32
    assert not torch.equal(v, plain)
    torch.testing.assert_close(v, plain, rtol=0.1, atol=0.05)
    assert mixed.encode(torch.rand(1, 3, 1, 32, 48), None).dtype == torch.float32
