"""The one step against tensors that the released code gave with tiny weights (videoscene/pipeline.py, video_gen)."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stages.video import cogvideox_student
from stages.video.cogvideox_memory import Memory
from stages.video.cogvideox_network import CogVideoX, build
from stages.video.cogvideox_student import StepSettings, repair_frames

SEED, TOLERANCE = 20250402, 1e-4


@pytest.fixture(scope="module")
def golden(upstream: Path) -> dict[str, torch.Tensor]:
    return load_file(upstream / "onestep_io.safetensors")


@pytest.fixture(scope="module")
def model(upstream: Path, golden: dict[str, torch.Tensor]) -> CogVideoX:
    configs = json.loads((upstream / "onestep_tiny_config.json").read_text())
    vae_config = {key: value for key, value in configs["vae"].items() if not key.endswith("block_types")}
    parts = {"transformer": build("transformer", configs["transformer"]), "vae": build("vae", vae_config)}
    for name, part in parts.items():
        part.load_state_dict(load_file(upstream / f"onestep_tiny_{name}.safetensors"), assign=True)
    return CogVideoX(parts["transformer"], parts["vae"], golden["prompt_embeds"], "cpu", Memory(torch.float32))


def upstream_frames(count: int) -> torch.Tensor:
    f, c, y, x = torch.meshgrid(*map(torch.arange, (count, 3, 480, 720)), indexing="ij")
    return ((x * (c + 1) + 2 * y + 5 * f) % 256).float() / 255


def upstream_pair() -> torch.Tensor:
    x, y = (torch.arange(720) / 719).expand(480, 720), (torch.arange(480) / 479)[:, None].expand(480, 720)
    return torch.stack([torch.stack([x, y, (x + y) / 2]), torch.stack([1 - x, y, x * y])])


@torch.no_grad()
def test_the_video_is_encoded_as_upstream_encodes_it(model: CogVideoX, golden: dict[str, torch.Tensor]) -> None:
    """The codec is causal: 9 of the 49 frames decide the first 3 of the 13 latents."""
    video = (2 * upstream_frames(9) - 1).transpose(0, 1)[None]
    noise = torch.randn(1, 16, 13, 60, 90, generator=torch.Generator().manual_seed(SEED))[:, :, :3]
    posterior = model.vae.encode(video).latent_dist
    latent = 0.7 * (posterior.mean + posterior.std * noise).transpose(1, 2)
    assert float((latent - golden["video_latents"][:, :3]).abs().max()) < TOLERANCE


@torch.no_grad()
def test_the_step_from_the_seed_on(
    model: CogVideoX, golden: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The photographs, their noise, the condition, the diffusion's noise, v, x0, and stored latents of the video."""
    seen: dict[str, torch.Tensor] = {}
    encode, one_step = model.encode, cogvideox_student.one_step

    def stored(video: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        if video.shape[2] == 1:
            return encode(video, generator)
        torch.randn(1, 16, 13, 60, 90, generator=generator)
        return golden["video_latents"].transpose(1, 2).contiguous().transpose(1, 2)

    def spied(backbone, latent, condition, t, noise):
        def spied_backbone(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            seen["v"] = backbone(x, t)
            return seen["v"]

        seen.update(condition=condition, noise=noise, t=t)
        seen["x0"] = one_step(spied_backbone, latent, condition, t, noise)
        return seen["x0"]

    monkeypatch.setattr(model, "encode", stored)
    monkeypatch.setattr(model, "decode", lambda latent: torch.zeros(1, 3, 49, 480, 720))
    monkeypatch.setattr(cogvideox_student, "one_step", spied)
    settings = StepSettings(549, SEED)
    repair_frames(model, torch.zeros(1, 3, 480, 720).expand(49, 3, 480, 720), upstream_pair(), settings)
    assert torch.equal(seen["t"], golden["timestep"])
    torch.testing.assert_close(seen["noise"], golden["noise"], atol=1e-5, rtol=0)  # randn rounds otherwise without AVX2
    assert float((seen["condition"][:, [0, -1]] - golden["condition"]).abs().max()) < TOLERANCE
    assert not seen["condition"][:, 1:-1].any()
    assert float((seen["v"] - golden["model_output"]).abs().max()) < TOLERANCE
    assert float((seen["x0"] - golden["x0"]).abs().max()) < TOLERANCE
