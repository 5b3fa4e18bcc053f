"""CogVideoX, a thousandfold smaller: 9 frames of 32 x 48 pixels, latents [1, 3, 16, 4, 6]."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from stages.scene import Cameras, Clip, Views
from stages.video.cogvideox_memory import Memory
from stages.video.cogvideox_network import TRANSFORMER_5B, VAE_5B, build
from stages.video.schedule import levels

TRANSFORMER: dict[str, Any] = TRANSFORMER_5B | {
    "num_attention_heads": 4,
    "attention_head_dim": 16,
    "num_layers": 1,
    "time_embed_dim": 8,
    "text_embed_dim": 8,
    "max_text_seq_length": 4,
    "sample_width": 6,
    "sample_height": 4,
    "sample_frames": 9,
}
VAE: dict[str, Any] = VAE_5B | {
    "block_out_channels": [8, 8, 8, 8],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "sample_height": 32,
    "sample_width": 48,
}
FULL = Memory(torch.float32)


def save_student(folder: Path, transformer: dict[str, Any] = TRANSFORMER) -> None:
    """A student's whole folder: a base, and a complete transformer whose attention is of another seed.

    transformer: arguments of diffusers' CogVideoXTransformer3DModel.
    """
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    for part, config in (("transformer", transformer), ("vae", VAE)):
        build(part, config, "cpu").float().save_pretrained(folder / part)
    overlay = build("transformer", transformer, "cpu").float().state_dict()
    save_file({key: tensor.clone() for key, tensor in overlay.items()}, folder / "model.safetensors")
    torch.save(torch.randn(1, 4, 8), folder / "prompt_embeds.pt")


def cameras(count: int, size: tuple[int, int]) -> Cameras:
    K = torch.tensor([[50.0, 0, size[1] / 2], [0, 50, size[0] / 2], [0, 0, 1]])
    return Cameras(torch.eye(4).expand(count, 4, 4), K.expand(count, 3, 3), size)


def scene(frames: int = 9, size: tuple[int, int] = (64, 64)) -> tuple[Clip, Views]:
    generator = torch.Generator().manual_seed(1)
    clip = torch.rand(frames, 3, *size, generator=generator)
    coverage = torch.rand(frames, *size, generator=generator)
    return Clip(clip, cameras(frames, size), coverage, 12.0), Views(
        torch.rand(2, 3, *size, generator=generator), cameras(2, size)
    )


def velocity(x0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """What a perfect network predicts: v = sqrt(abar_t) noise - sqrt(1 - abar_t) x0."""
    signal, sigma = levels(t, x0)
    return (signal * noise - sigma * x0).to(x0.dtype)
