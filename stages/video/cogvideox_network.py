"""CogVideoX-5B-I2V: the transformer and its codec as diffusers implements them, with their sizes and use of memory."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from stages.video.cogvideox_memory import Memory, Visitor, stream_blocks

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

FASTEST_ATTENTION = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]
"""Implementations of attention on CUDA in the order of their speed; torch takes the first that fits the inputs."""


def dtype_on(device: torch.device) -> torch.dtype:
    """The type of weights for a device: a CPU has no fast bfloat16, and a GPU before NVIDIA's Ampere has none."""
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16


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
        home = torch.device("cpu") if memory.offload else self.device
        self.transformer = transformer.to(home).eval().requires_grad_(False)
        self.vae = vae.to(home).eval().requires_grad_(False)
        self.prompt = prompt.to(self.device, memory.dtype)
        if memory.tiling:
            self.vae.enable_tiling()
        if memory.slicing:
            self.vae.enable_slicing()
        # How to call a method of each network.
        self._with_vae = self._with_transformer = _call
        if memory.offload:
            self._with_vae = Visitor(self.vae, self.device).call
            if not memory.stream:
                self._with_transformer = Visitor(self.transformer, self.device).call
        if memory.stream:
            stream_blocks(self.transformer, self.device)

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
        options = {"image_rotary_emb": angles, "return_dict": False}
        with self._computing():
            v = self._with_transformer(self.transformer.forward, x, prompt, t, **options)[0]
        return v.to(x.dtype)

    def encode(self, video: Tensor, generator: torch.Generator | None) -> Tensor:
        """The latent of a clip or an image. video: [B, 3, F, h, w] in [-1, 1], F = 4k + 1.

        Returns [B, k + 1, 16, h/8, w/8], multiplied by the codec's scaling factor.
        generator: sample from the posterior, as the released code does; None takes the posterior's mode.
        """
        with self._computing():
            posterior = self._with_vae(self.vae.encode, video.to(self.device, self.memory.dtype)).latent_dist
        latent = posterior.mode() if generator is None else posterior.sample(generator)
        return (latent * self.vae.config.scaling_factor).transpose(1, 2).to(self.memory.dtype)

    def decode(self, latent: Tensor) -> Tensor:
        """The clip of a latent. latent: [B, k + 1, 16, H, W], as `encode` gives it.

        Returns [B, 3, 4k + 1, 8H, 8W], about in [-1, 1].
        """
        with self._computing():
            z = latent.to(self.memory.dtype).transpose(1, 2) / self.vae.config.scaling_factor
            return self._with_vae(self.vae.decode, z, return_dict=False)[0]

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """A context with autocast if it is asked for, and on CUDA with the fastest attention first.

        In training attention stays as it is, because checkpointed blocks run again outside of this context.
        """
        with ExitStack() as stack:
            if self.device.type == "cuda" and not torch.is_grad_enabled():
                stack.enter_context(sdpa_kernel(FASTEST_ATTENTION, set_priority=True))
            precision = self.autocast or torch.bfloat16
            stack.enter_context(torch.autocast(self.device.type, precision, enabled=self.autocast is not None))
            yield


def _call(method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    return method(*arguments, **options)


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
    from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXSpatialNorm3D

    with torch.device(device):
        if part == "transformer":
            return CogVideoXTransformer3DModel(**config)
        blocks = len(config["block_out_channels"])
        kinds = {
            "down_block_types": ["CogVideoXDownBlock3D"] * blocks,
            "up_block_types": ["CogVideoXUpBlock3D"] * blocks,
        }
        vae: Any = AutoencoderKLCogVideoX(**kinds, **config)
    norms: list[Any] = [module for module in vae.modules() if isinstance(module, CogVideoXSpatialNorm3D)]
    for norm in norms:
        norm.forward = partial(spatial_norm, norm)
    return vae


def spatial_norm(norm: Any, f: Tensor, zq: Tensor, conv_cache: object = None) -> tuple[Tensor, dict[str, Any]]:
    """What diffusers' CogVideoXSpatialNorm3D computes: norm(f) times one projection of the latent plus another one.

    The projections are 1 x 1 x 1 convolutions, which commute with nearest interpolation. Here they come first, on up to
    256 times fewer positions.
    f: [B, C, F, H, W].  zq: [B, 16, F', H', W'].  Returns [B, C, F, H, W]; a kernel of size 1 has no cache.
    """

    def project(convolution: Any) -> Tensor:
        projected, _ = convolution(zq)
        if f.shape[2] == 1 or f.shape[2] % 2 == 0:
            return F.interpolate(projected, size=f.shape[-3:])
        first = F.interpolate(projected[:, :, :1], size=(1, *f.shape[-2:]))
        rest = F.interpolate(projected[:, :, 1:], size=(f.shape[2] - 1, *f.shape[-2:]))
        return torch.cat([first, rest], dim=2)

    return norm.norm_layer(f) * project(norm.conv_y) + project(norm.conv_b), {}
