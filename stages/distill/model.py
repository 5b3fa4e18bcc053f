"""What distillation trains: a backbone with its codec and its condition, alike for `small` and `cogvideox-5b`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call

from stages.distill.clip_shards import Example, draw
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
    """network: a `Backbone`.  trained: the names of its parameters that training changes; the others are frozen.
    encode: [B, F, 3, h, w] in [0, 1] -> latent [B, T, C, H, W].  decode: back, not clamped.
    condition: (render's latent, an `Example` of a batch of clips, generator) -> [B, T, C', H, W].
    size: the only (h, w) of a clip, or None for any.  prefix: what the names of `trained` have before those of the weights file.
    precision: in which the network multiplies matrices and convolves; None for its weights' own.
    """

    network: nn.Module
    trained: tuple[str, ...]
    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]
    condition: Callable[[Tensor, Example, Generator], Tensor]
    size: tuple[int, int] | None = None
    prefix: str = ""
    precision: torch.dtype | None = None

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """The network as it is trained: a `Backbone` that gradients flow through."""
        return self._predict(self.network, x, t)

    @property
    def weights(self) -> Weights:
        """The trained parameters themselves, by name."""
        own = dict(self.network.named_parameters())
        return {name: own[name] for name in self.trained}

    def at(self, weights: Weights) -> Backbone:
        """The network with other trained weights, frozen. weights: as `self.weights`."""

        @torch.no_grad()
        def backbone(x: Tensor, t: Tensor) -> Tensor:
            return self._predict(lambda *inputs: functional_call(self.network, weights, inputs), x, t)

        return backbone

    def _predict(self, network: Callable[[Tensor, Tensor], Tensor], x: Tensor, t: Tensor) -> Tensor:
        """`network` in the model's precision; what it predicts is in float32 at least."""
        with torch.autocast(x.device.type, self.precision or torch.bfloat16, enabled=self.precision is not None):
            return network(x, t).to(torch.promote_types(x.dtype, torch.float32))


@dataclass(frozen=True)
class Batch:
    """Latents [B, T, C, H, W] of the render and the truth, the condition [B, T, C', H, W]; truth: [B, F, 3, h, w] in [0, 1];
    coverage: [B, F, h, w]; render: like truth.
    """

    z_render: Tensor
    z_truth: Tensor
    condition: Tensor
    truth: Tensor
    coverage: Tensor
    render: Tensor


def small_model(network: SmallVideo, precision: torch.dtype | None = None) -> Model:
    """`small`: every parameter is trained, nothing in its codec or its condition is random."""

    def condition(latent: Tensor, known: Example, _: Generator) -> Tensor:
        return small_condition.condition(latent, known.coverage, known.photographs, Warped(known.warped, known.weight))

    trained = tuple(name for name, _ in network.named_parameters())
    return Model(network, trained, small_codec.encode, small_codec.decode, condition, precision=precision)


def cogvideox_model(model: CogVideoX) -> Model:
    """`cogvideox-5b`: the attention of its blocks is trained, in float32 whatever the others are in (`model.autocast` then brings
    both together), under gradient checkpointing (VideoScene, section 4).

    Its condition is the two photographs, each with the noise that CogVideoX is used to (SPEC 1.8); it knows no coverage.
    """

    class Network(nn.Module):
        """The transformer with the text's embedding and the rotary embedding that `CogVideoX` gives it."""

        def __init__(self) -> None:
            super().__init__()
            self.transformer = model.transformer

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return model(x, t)

    network = Network()
    trained = tuple(name for name, _ in network.named_parameters() if ".attn1." in name)
    for name, parameter in network.named_parameters():
        if name in trained:
            parameter.data = parameter.data.float()
    model.transformer.enable_gradient_checkpointing()

    @torch.no_grad()
    def encode(frames: Tensor) -> Tensor:
        return model.encode((2 * frames - 1).transpose(1, 2), None).float()

    def decode(latent: Tensor) -> Tensor:
        return model.decode(latent).float().transpose(1, 2) / 2 + 0.5

    @torch.no_grad()
    def condition(latent: Tensor, known: Example, generator: Generator) -> Tensor:
        rows = []
        for pair in 2 * known.photographs - 1:
            sigma = sample_sigma(generator, pair)
            noisy = pair + sigma * torch.randn(pair.shape, generator=generator).to(pair)
            first, last = (model.encode(image[None, :, None], None).float() for image in noisy)
            rows.append(place_ends(first, last, latent.shape[1]))
        return torch.cat(rows)

    return Model(network, trained, encode, decode, condition, model.size, "transformer.")


def draw_batch(
    model: Model, shards: Sequence[Path], generator: Generator, count: int, frames: int, size: tuple[int, int], device: torch.device
) -> Batch:
    """`count` random clips of one random shard, with their latents and condition. Raises InputError when a clip has not the model's size.

    Everything random comes from `generator`, on the CPU.
    """
    shard = shards[int(torch.randint(len(shards), (), generator=generator))]
    return to_batch(model, [draw([shard], generator, frames, size) for _ in range(count)], generator, device)


def to_batch(model: Model, examples: Sequence[Example], generator: Generator, device: torch.device) -> Batch:
    """The batch of some clips of one size."""
    have = tuple(examples[0].truth.shape[-2:])
    if model.size is not None and have != model.size:
        raise InputError("cannot train on these clips", f"they are {have}, the model takes {model.size}", "make clips of that size")
    known = Example(
        **{part.name: torch.stack([getattr(example, part.name) for example in examples]).to(device) for part in fields(Example)}
    )
    z_render, z_truth = model.encode(known.render), model.encode(known.truth)
    return Batch(z_render, z_truth, model.condition(z_render, known, generator), known.truth, known.coverage, known.render)
