"""Inference with `SmallVideo` on one clip: latent frame by latent frame, faster and in less memory.

The steps before and after the UNet need only one latent frame at a time. So here they read the pixels of its four
frames, which stay in a CPU's cache. The forward pass reads a condition instead, which holds the whole clip several
times over. The codec's transform is linear, so here it is a part of the stem's weights.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from stages.video.one_step import Backbone
from stages.video.schedule import v_from_x0
from stages.video.small_codec import CHANNELS, FRAMES, SIDE, STILL, encode, encode_blocks, encoding
from stages.video.small_condition import MAP_CHANNELS, PHOTOGRAPHS_AT, WARPED_AT, WEIGHTS_AT
from stages.video.small_network import BELIEF_LIMIT, DIFFERENCE_SCALE, SmallVideo
from stages.video.warp import Warped, difference, log_trust, mixed

# First input channel of each part that the stem reads; see `SmallVideo.forward`. The noised latent and the render come
# before these parts.
COVERAGE_AT = 2 * CHANNELS
ENDS_AT, DIFFERENCES_AT, WEIGHTS_FROM = (CHANNELS + at for at in (PHOTOGRAPHS_AT, WARPED_AT, WEIGHTS_AT))
BLENDED_AT = WEIGHTS_FROM + 2 * MAP_CHANNELS
DISAGREEMENT_AT = BLENDED_AT + CHANNELS


@dataclass(frozen=True, eq=False)
class ClipPixels:
    """What `small` sees of a clip, with sides that are multiples of 16 and 4k + 1 frames.

    frames: [F, 3, h, w], the render.  coverage: [F, h, w].  photographs: [2, 3, h, w].
    warped: the photographs as the cameras of the frames see them.
    """

    frames: Tensor
    coverage: Tensor
    photographs: Tensor
    warped: Warped

    def block(self, k: int, device: torch.device) -> "Block":
        """The frames of latent frame k. The first block is four copies of the first frame."""
        part = slice(0, 1) if k == 0 else slice(FRAMES * k - FRAMES + 1, FRAMES * k + 1)
        maps = (self.frames, self.coverage, self.warped.colours, self.warped.weight)
        frames, coverage, colours, weight = (
            x[part].to(device, torch.float32).expand(FRAMES, *(-1,) * (x.dim() - 1)) for x in maps
        )
        # Where a warped photograph does not show the surface, it holds the render's colours.
        return Block(frames, coverage, torch.where(weight[:, :, None] > 0, colours, frames[:, None]), weight)


@dataclass(frozen=True, eq=False)
class Block:
    """Four frames, as in `ClipPixels`. colours: [4, 2, 3, h, w] and weight: [4, 2, h, w], of the warped photographs."""

    frames: Tensor
    coverage: Tensor
    colours: Tensor
    weight: Tensor

    @cached_property
    def weights(self) -> Tensor:
        """The weights of the warped photographs in the blend, [4, 2, h, w]: `weight` times the trust in each pixel."""
        return self.weight * log_trust(self.frames, self.colours).exp()

    def blended(self, weights: Tensor) -> Tensor:
        """The blend of the render and the warped photographs, [4, 3, h, w]. weights: [4, 2, h, w], of these."""
        return mixed(self.frames, self.colours, weights)

    @property
    def maps(self) -> Tensor:
        """All that the stem reads of the pixels, [4, 15, h, w], in the order of `Stem`."""
        a, b = self.colours.unbind(1)
        disagreement = torch.stack([difference(a, self.frames), difference(b, self.frames), difference(a, b)], 1)
        parts = (
            self.coverage[:, None],
            a - self.frames,
            b - self.frames,
            self.weight,
            self.blended(self.weights) - self.frames,
            disagreement,
        )
        return torch.cat(parts, 1)


class Stem:
    """The stem of a `SmallVideo` with the codec in its weights: from latents and pixels to features.

    latent: [C, 384], for the noised latent and the render's.  ends: [C, 48], for a photograph.
    pixels: [C, 960], for a block of the maps of `Block.maps`; columns run over frame, map, row, column.  bias: [C].
    """

    def __init__(self, network: SmallVideo) -> None:
        weight = network.stem.weight.detach().flatten(1).float()
        matrix = encoding(weight.device)

        def colours(at: int) -> Tensor:
            return (weight[:, at : at + CHANNELS] @ matrix).unflatten(1, (FRAMES, 3, SIDE, SIDE))

        def maps(at: int, count: int) -> Tensor:
            folded = weight[:, at : at + count * MAP_CHANNELS].unflatten(1, (count, FRAMES, SIDE, SIDE))
            return folded.transpose(1, 2)

        coverage = weight[:, COVERAGE_AT:ENDS_AT]
        parts = (
            2 * maps(COVERAGE_AT, 1),  # the network reads 2 * coverage - 1
            colours(DIFFERENCES_AT),
            colours(DIFFERENCES_AT + CHANNELS),
            maps(WEIGHTS_FROM, 2),
            colours(BLENDED_AT),
            DIFFERENCE_SCALE * maps(DISAGREEMENT_AT, 3),
        )
        assert network.stem.bias is not None
        self.latent, self.ends = weight[:, :COVERAGE_AT], weight[:, ENDS_AT:DIFFERENCES_AT]
        self.pixels, self.bias = torch.cat(parts, 2).flatten(1), network.stem.bias.detach() - coverage.sum(1)

    def __call__(self, x_t: Tensor, render: Tensor, photograph: Tensor | None, block: Block) -> Tensor:
        """Features of one latent frame, [H W, C].

        x_t, render: [192, H, W], latents.  photograph: [48, H, W], its latent, at both ends of a clip.
        """
        maps = block.maps
        h, w = (side // SIDE for side in maps.shape[-2:])
        pixels = maps.view(FRAMES, -1, h, SIDE, w, SIDE).permute(2, 4, 0, 1, 3, 5).reshape(h * w, -1)
        out = torch.addmm(self.bias, pixels, self.pixels.T)
        out = out.addmm_(torch.cat([x_t, render]).flatten(1).T, self.latent.T)
        return out if photograph is None else out.addmm_(photograph.flatten(1).T, self.ends.T)


def small_backbone(network: SmallVideo, render: Tensor, clip: ClipPixels) -> Backbone:
    """The network for the steps of one clip: (x_t [1, T, 192, H, W], t [1]) -> v, on the device of x_t.

    render: [1, T, 192, H, W], the latent of `clip`.
    The returned function holds the condition, so a sampler gets an empty one.
    """
    device, dtype, stem = network.head.weight.device, network.head.weight.dtype, Stem(network)
    photographs = encode(clip.photographs[:, None].to(device))[:, 0, :STILL]

    @torch.no_grad()
    def backbone(x_t: Tensor, t: Tensor) -> Tensor:
        at_home, x_t, t = x_t.device, x_t.to(device), t.to(device)
        _, count, _, h, w = x_t.shape
        fine = x_t.new_empty(count, h, w, stem.bias.shape[0])
        ends, weights = {0: photographs[0], count - 1: photographs[1]}, []
        for k in range(count):
            block = clip.block(k, device)
            fine[k] = stem(x_t[0, k], render[0, k].to(device), ends.get(k), block).view(h, w, -1)
            weights.append(block.weights)
        inputs = (fine.permute(0, 3, 1, 2)[None].to(dtype), photographs[None].to(dtype))
        out = network.features(*inputs, t)[0]
        v = torch.empty_like(x_t)
        for k in range(count):
            block = clip.block(k, device)
            residual, belief = out[k, :CHANNELS].to(x_t), _believed(out[k, CHANNELS:].to(x_t), k == 0)
            x0 = encode_blocks(block.blended(weights[k] * belief.exp())[None])[0, 0]
            v[0, k] = v_from_x0(x_t[0, k], x0 + network.scale * residual, t)
        return v.to(at_home)

    return backbone


def _believed(channels: Tensor, alone: bool) -> Tensor:
    """The belief in the warped pixels of a block, [4, 2, h, w].

    channels: [128, H, W].  alone: the block is four copies of one frame, and the belief is their mean, [1, 2, h, w].
    """
    _, h, w = channels.shape
    belief = channels.unflatten(0, (2, FRAMES, SIDE, SIDE)).permute(1, 0, 4, 2, 5, 3)
    belief = belief.reshape(FRAMES, 2, h * SIDE, w * SIDE)
    belief = belief.mean(0, keepdim=True) if alone else belief
    return BELIEF_LIMIT * (belief / BELIEF_LIMIT).tanh()
