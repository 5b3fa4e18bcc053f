"""What distillation trains: a backbone with its codec and condition. One interface for `small` and `cogvideox-5b`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call

from stages.distill.clip_shards import Example, sample_clip, stack
from stages.distill.latents import Latents, hash_codec
from stages.distill.sharding import exchanged, is_sharded, placed
from stages.errors import InputError
from stages.video import small_codec, small_condition
from stages.video.one_step import Backbone, place_ends, sample_sigma
from stages.video.warp import Warped

if TYPE_CHECKING:
    from stages.video.cogvideox_network import CogVideoX
    from stages.video.small_network import SmallVideo

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Model:
    """A trainable backbone, its codec and its condition.

    network: a `Backbone`.  trained: names of the parameters that training changes; the others are frozen.
    encode: [B, F, 3, h, w] in [0, 1] -> latent [B, T, C, H, W].  decode: the inverse, not clamped.
    condition: (render's latent, an `Example` that is a batch, generator) -> [B, T, C', H, W].
    size: the only possible (h, w) of a clip, or None for any.
    prefix: leading part of the names in `trained` that the weights file leaves out.
    warped: whether the condition reads the warped photographs.
    codec: hash of a learned codec, or None for a codec that was not learned and is quick. A learned codec is slow, so
    the latents of each clip are kept on disk (latents.py). With it, clips are not recoloured, for two reasons: its base
    model saw only natural colours, and few variants of a clip mean few latents to keep.
    precision: dtype of matrix products and convolutions; None for that of the weights.
    blocks: parts of the network that run one after another. Several processes divide their trained weights among
    themselves (sharding.py). If empty, every process holds all weights.
    """

    network: nn.Module
    trained: tuple[str, ...]
    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]
    condition: Callable[[Tensor, Example, Generator], Tensor]
    size: tuple[int, int] | None = None
    prefix: str = ""
    precision: torch.dtype | None = None
    warped: bool = True
    codec: str | None = None
    blocks: tuple[nn.Module, ...] = ()

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """The network in training: a `Backbone` that gradients flow through."""
        return self._predict(self.network, x, t)

    @property
    def weights(self) -> Weights:
        """The trained parameters, by name. These are the parameters themselves, not copies."""
        own = dict(self.network.named_parameters())
        return {name: own[name] for name in self.trained}

    def placed(self, weights: Weights) -> Weights:
        """Copies of whole weights, on the network's device and sharded like its own. weights: of the trained names."""
        return {name: placed(weights[name], value) for name, value in self.weights.items()}

    def at(self, weights: Weights) -> Backbone:
        """The network with other trained weights, frozen. weights: as `placed` gives them."""

        @torch.no_grad()
        def backbone(x: Tensor, t: Tensor) -> Tensor:
            if is_sharded(weights):
                with exchanged(self.weights, weights):
                    return self._predict(self.network, x, t)
            return self._predict(lambda *inputs: functional_call(self.network, weights, inputs), x, t)

        return backbone

    def _predict(self, network: Callable[[Tensor, Tensor], Tensor], x: Tensor, t: Tensor) -> Tensor:
        """The output of `network`, computed in the model's precision, as float32 or wider."""
        with torch.autocast(x.device.type, self.precision or torch.bfloat16, enabled=self.precision is not None):
            return network(x, t).to(torch.promote_types(x.dtype, torch.float32))


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch for one training step.

    z_render, z_truth: latents [B, T, C, H, W].  condition: [B, T, C', H, W].  truth, render: [B, F, 3, h, w] in [0, 1].
    coverage: [B, F, h, w].
    """

    z_render: Tensor
    z_truth: Tensor
    condition: Tensor
    truth: Tensor
    coverage: Tensor
    render: Tensor


def small_model(network: SmallVideo, precision: torch.dtype | None = None) -> Model:
    """The model of `small`. Every parameter is trained; nothing in its codec or its condition is random."""

    def condition(latent: Tensor, clips: Example, _: Generator) -> Tensor:
        assert clips.warped is not None, "the model says that it reads them"
        assert clips.weight is not None, "the model says that it reads them"
        return small_condition.condition(latent, clips.coverage, clips.photographs, Warped(clips.warped, clips.weight))

    trained = tuple(name for name, _ in network.named_parameters())
    return Model(network, trained, small_codec.encode, small_codec.decode, condition, precision=precision)


def cogvideox_model(model: CogVideoX) -> Model:
    """The model of `cogvideox-5b`. Attention layers are trained, with gradient checkpointing (VideoScene, section 4).

    Trained weights are float32, even where the others are not. Matrix products can use both, because they are computed
    in the type `model.autocast`.
    The condition is the two photographs with the noise that CogVideoX was trained with. It does not use the coverage.
    """

    class Network(nn.Module):
        """The transformer together with the text's embedding and the rotary embedding, which `CogVideoX` adds."""

        def __init__(self) -> None:
            super().__init__()
            self.transformer = model.transformer

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return model(x, t).clone()  # The transformer's output is a view, which fully_shard warns of.

    # Train the attention layers only, in float32.
    network = Network()
    trained = tuple(name for name, _ in network.named_parameters() if ".attn1." in name)
    for name, parameter in network.named_parameters():
        if name in trained:
            parameter.data = parameter.data.float()
    model.transformer.enable_gradient_checkpointing()

    # The codec and the condition, with the layout of axes and the range of values that `Model` states.
    @torch.no_grad()
    def encode(frames: Tensor) -> Tensor:
        return model.encode((2 * frames - 1).transpose(1, 2), None).float()

    def decode(latent: Tensor) -> Tensor:
        return model.decode(latent).float().transpose(1, 2) / 2 + 0.5

    @torch.no_grad()
    def condition(latent: Tensor, clips: Example, generator: Generator) -> Tensor:
        rows = []
        for pair in 2 * clips.photographs - 1:
            sigma = sample_sigma(generator, pair)
            noisy = pair + sigma * torch.randn(pair.shape, generator=generator).to(pair)
            first, last = (model.encode(image[None, :, None], None).float() for image in noisy)
            rows.append(place_ends(first, last, latent.shape[1]))
        return torch.cat(rows)

    codec = hash_codec(model.vae)
    blocks = tuple(model.transformer.transformer_blocks)
    return Model(
        network,
        trained,
        encode,
        decode,
        condition,
        model.size,
        "transformer.",
        warped=False,
        codec=codec,
        blocks=blocks,
    )


def sample_clips(
    model: Model, shards: Sequence[Path], generator: Generator, count: int, frames: int, size: tuple[int, int]
) -> list[Example]:
    """`count` random clips of one random shard, cropped and augmented. Their values are uint8, as stored."""
    shard = shards[int(torch.randint(len(shards), (), generator=generator))]
    recolour = model.codec is None
    return [sample_clip([shard], generator, frames, size, model.warped, recolour) for _ in range(count)]


def to_batch(
    model: Model, examples: Sequence[Example], generator: Generator, device: torch.device, latents: Latents
) -> Batch:
    """The batch of some clips as stored, with latents and condition. Raises InputError when their size is wrong.

    All random numbers come from `generator`, on the CPU.
    """
    clip_size = tuple(examples[0].truth.shape[-2:])
    if model.size is not None and clip_size != model.size:
        why = f"they are {clip_size}, the model takes {model.size}"
        raise InputError("cannot train on these clips", why, "make clips of that size")
    stored = stack(examples)
    clips = stored.map(lambda _, x: x.to(device).float() / 255)
    z_render, z_truth = latents.of(stored.render, clips.render), latents.of(stored.truth, clips.truth)
    condition = model.condition(z_render, clips, generator)
    return Batch(z_render, z_truth, condition, clips.truth, clips.coverage, clips.render)
