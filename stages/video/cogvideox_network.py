"""CogVideoX-5B-I2V: the transformer and its codec as diffusers implements them, with their sizes and use of memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

TRANSFORMER_5B: dict[str, Any] = {
    "num_attention_heads": 48,
    "attention_head_dim": 64,
    "in_channels": 32,  # 16 of the noised latent and 16 of the condition
    "out_channels": 16,
    "num_layers": 42,
    "time_embed_dim": 512,
    "text_embed_dim": 4096,
    "max_text_seq_length": 226,
    "patch_size": 2,
    "sample_width": 90,
    "sample_height": 60,
    "sample_frames": 49,
    "temporal_compression_ratio": 4,
    "spatial_interpolation_scale": 1.875,
    "temporal_interpolation_scale": 1.0,
    "attention_bias": True,
    "activation_fn": "gelu-approximate",
    "timestep_activation_fn": "silu",
    "norm_eps": 1e-5,
    "norm_elementwise_affine": True,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "use_rotary_positional_embeddings": True,
    "use_learned_positional_embeddings": True,
}
"""Arguments of diffusers' CogVideoXTransformer3DModel for 5.6 billion parameters. VideoScene changes none of them."""

VAE_5B: dict[str, Any] = {
    "block_out_channels": [128, 256, 256, 512],
    "layers_per_block": 3,
    "latent_channels": 16,
    "norm_num_groups": 32,
    "norm_eps": 1e-6,
    "act_fn": "silu",
    "temporal_compression_ratio": 4,
    "scaling_factor": 0.7,
    "sample_height": 480,
    "sample_width": 720,
}
"""Arguments of diffusers' AutoencoderKLCogVideoX for 0.2 billion parameters."""


@dataclass(frozen=True)
class Memory:
    """How the networks use memory.

    dtype: of the weights and the latents.  offload: keep the codec and the transformer in main memory, and move each
    to the device only while it runs.  tiling: encode and decode in overlapping tiles; they show faintly.
    slicing: encode and decode one clip at a time.
    """

    dtype: torch.dtype = torch.bfloat16
    offload: bool = False
    tiling: bool = False
    slicing: bool = False


def memory_on(device: torch.device) -> Memory:
    """The settings for a device: bfloat16 on a GPU, float32 on a CPU, which has no fast bfloat16."""
    return Memory(torch.bfloat16 if device.type == "cuda" else torch.float32)


class CogVideoX:
    """A backbone (see `one_step.Backbone`) with its codec.

    transformer, vae: diffusers' networks in memory.dtype, see `build`.
    prompt: the text's embedding, [1, 226, 4096]; the text encoder is not needed.  device: where the networks run.
    autocast: dtype of matrix products and convolutions (the released app: float16); None for that of the weights.
    """

    def __init__(
        self,
        transformer: Any,
        vae: Any,
        prompt: Tensor,
        device: torch.device | str,
        memory: Memory,
        autocast: torch.dtype | None = None,
    ) -> None:
        self.device, self.memory, self.autocast = torch.device(device), memory, autocast
        home = "cpu" if memory.offload else self.device
        self.transformer = transformer.to(home).eval().requires_grad_(False)
        self.vae = vae.to(home).eval().requires_grad_(False)
        self.prompt = prompt.to(self.device, memory.dtype)
        if memory.tiling:
            self.vae.enable_tiling()
        if memory.slicing:
            self.vae.enable_slicing()

    @property
    def frames(self) -> int:
        """Number of frames of a clip: 49."""
        return int(self.transformer.config.sample_frames)

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of a frame in pixels: 480 x 720. The network has learned positions for this size alone."""
        factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        return int(self.transformer.config.sample_height) * factor, int(self.transformer.config.sample_width) * factor

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """Predict v, in one call without guidance. x: noised latent and condition, [B, T, 32, H, W].  t: [B].

        Returns [B, T, 16, H, W].
        """
        angles = rotary(self.transformer.config, x.shape[1], (x.shape[3], x.shape[4]), x.device)
        prompt = self.prompt.expand(x.shape[0], -1, -1)
        with self._on_device(self.transformer):
            v = self.transformer(x, prompt, t, image_rotary_emb=angles, return_dict=False)[0]
        return v.to(x.dtype)

    def encode(self, video: Tensor, generator: torch.Generator | None) -> Tensor:
        """The latent of a clip or an image. video: [B, 3, F, h, w] in [-1, 1], F = 4k + 1.

        Returns [B, k + 1, 16, h/8, w/8], multiplied by the codec's scaling factor.

        generator: sample from the posterior, as the released code does; None takes the posterior's mode.
        """
        with self._on_device(self.vae):
            posterior = self.vae.encode(video.to(self.device, self.memory.dtype)).latent_dist
        latent = posterior.mode() if generator is None else posterior.sample(generator)
        return (latent * self.vae.config.scaling_factor).transpose(1, 2).to(self.memory.dtype)

    def decode(self, latent: Tensor) -> Tensor:
        """The clip of a latent. latent: [B, k + 1, 16, H, W], as `encode` gives it.

        Returns [B, 3, 4k + 1, 8H, 8W], about in [-1, 1].
        """
        with self._on_device(self.vae):
            z = latent.to(self.memory.dtype).transpose(1, 2) / self.vae.config.scaling_factor
            return self.vae.decode(z, return_dict=False)[0]

    @contextmanager
    def _on_device(self, module: Any) -> Iterator[None]:
        module.to(self.device)  # moves nothing without `offload`
        try:
            with torch.autocast(self.device.type, self.autocast or torch.bfloat16, enabled=self.autocast is not None):
                yield
        finally:
            if self.memory.offload:
                module.to("cpu")


def rotary(
    config: Any, frames: int, size: tuple[int, int], device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary position embedding of the video tokens.

    It follows the released videoscene/utils.py, function prepare_rotary_positional_embeddings.
    config: the transformer's.  frames, size: T and (H, W) of the latent.  Returns two tables [T H W / 4, 64], float32.
    """
    from diffusers.models.embeddings import get_3d_rotary_pos_embed

    grid = (size[0] // config.patch_size, size[1] // config.patch_size)
    cos, sin = get_3d_rotary_pos_embed(
        config.attention_head_dim, ((0, 0), grid), grid, frames, device=torch.device(device)
    )
    return cos, sin


def build(part: Literal["transformer", "vae"], config: dict[str, Any], device: torch.device | str = "meta") -> Any:
    """diffusers' network of one part with the sizes of `config`. On the meta device it takes no memory."""
    from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel

    with torch.device(device):
        if part == "transformer":
            return CogVideoXTransformer3DModel(**config)
        blocks = len(config["block_out_channels"])
        kinds = {
            "down_block_types": ["CogVideoXDownBlock3D"] * blocks,
            "up_block_types": ["CogVideoXUpBlock3D"] * blocks,
        }
        return AutoencoderKLCogVideoX(**kinds, **config)
