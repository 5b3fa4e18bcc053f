"""The backbone of `small`: a UNet over latent frames that predicts what the render and the warped photographs lack.

    x_t and condition -> features at 1/4 of the picture's width and height -> 1/8 -> 1/16 -> back up -> belief, residual
    x0_hat = blend(render, warped photographs, belief) + residual

The belief says how far to trust each pixel of the warped photographs.

Convolutions are two-dimensional, which is fastest on a CPU. A temporal shift (Lin et al. 2019) lets each frame see its
two neighbours: it takes some channels from them, at no cost. At the coarsest level every token attends to all tokens of
all frames and of both photographs. The last layer starts at zero, so an untrained network returns the blend of the
render and the warped photographs (stages/video/warp.py).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.files.settings import NO_OTHER_KEYS
from stages.video.schedule import v_from_x0
from stages.video.small_codec import CHANNELS, SIDE, STILL, encode
from stages.video.small_condition import (
    CONDITION_CHANNELS,
    MAP_CHANNELS,
    fold_maps,
    photographs_of,
    pixels_of,
    render_of,
    unfold_maps,
)
from stages.video.warp import blend, difference

MULTIPLE = 4  # the latent's height and width are extended to multiples of this
FEATURES = 2 * CHANNELS + CONDITION_CHANNELS + 3 * MAP_CHANNELS  # input channels of the stem
DIFFERENCE_SCALE = 5.0  # factor that brings differences between the render and the warped photographs to about 1
# Bound on the absolute value of a belief, which is the logarithm of a factor on the weight of a warped pixel.
BELIEF_LIMIT = 4.0
SHIFT_DIVISOR = 8  # one eighth of the channels comes from the frame before, and one eighth from the frame after
# Typical errors of the blend in the lowest bands and in others, in standard deviations of a band. They scale residuals.
LOWEST_BAND_ERROR, OTHER_BANDS_ERROR = 0.15, 0.5
EXPANSION = 2  # inner width of a block divided by its outer width
PATH_LENGTH = 4.0  # distance between the two photographs, in units of rotary position


@dataclass(frozen=True)
class SmallVideoConfig:
    """The sizes of the network.

    channels: widths at 1/4, 1/8 and 1/16 of the picture's width and height.
    encoder, decoder: numbers of blocks at 1/4 and 1/8.
    middle: number of blocks at 1/16.  heads: attention heads.  time_channels: width of the timestep's embedding.
    """

    __pydantic_config__ = NO_OTHER_KEYS
    channels: tuple[int, int, int]
    encoder: tuple[int, int]
    middle: int
    decoder: tuple[int, int]
    heads: int
    time_channels: int


SMALL_VIDEO = SmallVideoConfig(
    channels=(192, 256, 256), encoder=(3, 3), middle=3, decoder=(4, 3), heads=4, time_channels=128
)


class SmallVideo(nn.Module):
    """A `Backbone`: predicts v from a noised latent and its condition (stages/video/small_condition.py)."""

    scale: Tensor  # typical size of the residual of each channel, [192, 1, 1]

    def __init__(self, config: SmallVideoConfig = SMALL_VIDEO) -> None:
        super().__init__()
        self.config = config
        fine, half, coarse = config.channels
        time = config.time_channels
        self.time = nn.Sequential(nn.Linear(time, time), nn.SiLU(), nn.Linear(time, time), nn.SiLU())
        self.stem = nn.Conv2d(FEATURES, fine, 1)
        self.photographs = nn.Conv2d(STILL, coarse, MULTIPLE, stride=MULTIPLE)
        self.encoder_fine = nn.ModuleList(Block(fine, time) for _ in range(config.encoder[0]))
        self.down_half = nn.Conv2d(fine, half, 2, stride=2)
        self.encoder_half = nn.ModuleList(Block(half, time) for _ in range(config.encoder[1]))
        self.down_coarse = nn.Conv2d(half, coarse, 2, stride=2)
        self.middle = nn.ModuleList(Block(coarse, time) for _ in range(config.middle))
        self.attention = nn.ModuleList(Attention(coarse, config.heads) for _ in range(config.middle))
        self.up_half = nn.Conv2d(coarse, 4 * half, 1)
        self.decoder_half = nn.ModuleList(Block(half, time) for _ in range(config.decoder[1]))
        self.up_fine = nn.Conv2d(half, 4 * fine, 1)
        self.decoder_fine = nn.ModuleList(Block(fine, time) for _ in range(config.decoder[0]))
        self.head = nn.Conv2d(fine, CHANNELS + 2 * MAP_CHANNELS, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        # The noised latent starts with zero weight: random weights would add its noise to every feature.
        with torch.no_grad():
            self.stem.weight[:, :CHANNELS] = 0
        scale = torch.full((CHANNELS, 1, 1), OTHER_BANDS_ERROR)
        scale[[0, SIDE * SIDE, 2 * SIDE * SIDE]] = LOWEST_BAND_ERROR
        self.register_buffer("scale", scale, persistent=False)

    def computing_in(self, dtype: torch.dtype) -> "SmallVideo":
        """This network, whose `features` compute in a type from now on. What reads and makes pixels stays as it is."""
        for name, module in self.named_children():
            if name != "stem":
                module.to(dtype)
        return self

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Predict v. x: noised latent and condition side by side, [B, T, 192 + CONDITION_CHANNELS, H, W], T >= 2.

        t: [B], 0 to 999.
        Returns v, [B, T, 192, H, W], float32 or wider.
        """
        h, w = x.shape[-2:]
        x_t, condition = x[:, :, :CHANNELS], x[:, :, CHANNELS:]
        # The pixels of the condition, and where they disagree.
        frames, warped = pixels_of(condition)
        blended = encode(blend(frames, warped.colours, warped.weight)) - render_of(condition)
        a, b = warped.colours.unbind(2)
        differences = torch.stack([difference(a, frames), difference(b, frames), difference(a, b)], 2)
        # The network's own part: how far to believe each warped pixel, and what the blend lacks.
        parts = (x, blended, DIFFERENCE_SCALE * fold_maps(differences))
        # Frame by frame: all inputs side by side would take more memory than the rest of the network.
        fine = torch.stack([self.stem(torch.cat([p[:, k] for p in parts], 1)) for k in range(x.shape[1])], 1)
        del parts, blended, differences, a, b
        out = self.features(_extend(fine), photographs_of(_extend(condition)), t)[..., :h, :w]
        out = out.to(torch.promote_types(x.dtype, torch.float32))
        residual = out[:, :, :CHANNELS]
        belief = BELIEF_LIMIT * (unfold_maps(out[:, :, CHANNELS:]) / BELIEF_LIMIT).tanh()
        x0 = encode(blend(frames, warped.colours, warped.weight, belief)) + self.scale * residual
        return v_from_x0(x_t.to(x0), x0, t)

    def features(self, inputs: Tensor, photographs: Tensor, t: Tensor) -> Tensor:
        """The residual of the blend, in units of `scale`, and the belief in the warped pixels before it is limited.

        inputs: [B, T, C, H, W], from `stem`; H and W are multiples of 4.  photographs: [B, 2, STILL, H, W].
        Returns [B, T, 192 + 128, H, W].
        """
        frames = inputs.shape[1]
        time = self.time(sinusoids(t, self.config.time_channels).to(self.head.weight.dtype))
        time = time.repeat_interleave(frames, 0)
        fine = inputs.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        for block in self.encoder_fine:
            fine = block(fine, time, frames)
        half = self.down_half(fine)
        for block in self.encoder_half:
            half = block(half, time, frames)
        coarse = self.down_coarse(half)
        photographs = self.photographs(photographs.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        width = self.config.channels[2] // self.config.heads
        angles = rotary_angles(frames, (coarse.shape[-2], coarse.shape[-1]), width, inputs.device)
        for block, attention in zip(self.middle, self.attention, strict=True):
            coarse = attention(block(coarse, time, frames), photographs, frames, angles)
        half = half + F.pixel_shuffle(self.up_half(coarse), 2)
        for block in self.decoder_half:
            half = block(half, time, frames)
        fine = fine + F.pixel_shuffle(self.up_fine(half), 2)
        for block in self.decoder_fine:
            fine = block(fine, time, frames)
        return self.head(F.silu(fine)).unflatten(0, inputs.shape[:2])


def _extend(x: Tensor) -> Tensor:
    """Repeat the last row and column until both counts are multiples of MULTIPLE. x: [B, T, C, H, W]."""
    below, right = -x.shape[-2] % MULTIPLE, -x.shape[-1] % MULTIPLE
    if below == right == 0:
        return x
    return F.pad(x.flatten(0, 1), (0, right, 0, below), mode="replicate").unflatten(0, x.shape[:2])


class Block(nn.Module):
    """A residual block (after NAFNet, Chen et al. 2022): widen, convolve each channel alone, narrow again.

    The timestep scales and shifts the input.
    """

    def __init__(self, channels: int, time_channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.time = nn.Linear(time_channels, 2 * channels)
        self.widen = nn.Linear(channels, EXPANSION * channels)
        self.convolve = nn.Conv2d(EXPANSION * channels, EXPANSION * channels, 3, padding=1, groups=EXPANSION * channels)
        self.narrow = nn.Linear(EXPANSION * channels, channels)
        nn.init.zeros_(self.narrow.weight)
        nn.init.zeros_(self.narrow.bias)

    def forward(self, x: Tensor, time: Tensor, frames: int) -> Tensor:
        """x: [B T, C, H, W], channels last in memory.  time: [B T, time_channels].  frames: T."""
        scale, shift = self.time(time)[:, None, None].chunk(2, -1)
        if not torch.is_grad_enabled() and not x.is_cuda:
            return self._frame_by_frame(x.permute(0, 2, 3, 1), scale, shift, frames).permute(0, 3, 1, 2)
        inner = self.norm(x.permute(0, 2, 3, 1)) * (1 + scale) + shift
        return x + self._convolved(shift_in_time(inner, frames)).permute(0, 3, 1, 2)

    def _frame_by_frame(self, x: Tensor, scale: Tensor, shift: Tensor, frames: int) -> Tensor:
        """`forward` without gradients: single frames stay in a CPU's cache. x, and the result: [B T, H, W, C]."""
        out, k = torch.empty_like(x, memory_format=torch.contiguous_format), x.shape[-1] // SHIFT_DIVISOR

        def normed(n: int) -> Tensor:
            gain = 1 + scale[n, 0, 0]
            return F.layer_norm(x[n], x.shape[-1:], self.norm.weight * gain, self.norm.bias * gain + shift[n, 0, 0])

        for first in range(0, len(x), frames):
            before, here = torch.zeros_like(x[0]), normed(first)
            for n in range(first, first + frames):
                after = normed(n + 1) if n + 1 < first + frames else torch.zeros_like(here)
                inner = torch.cat([before[..., :k], after[..., k : 2 * k], here[..., 2 * k :]], -1)
                torch.add(x[n], self._convolved(inner[None])[0], out=out[n])
                before, here = here, after
        return out

    def _convolved(self, x: Tensor) -> Tensor:
        """Widen, convolve, narrow. x: [N, H, W, C].  Returns [N, H, W, C]."""
        wide = self.widen(x).permute(0, 3, 1, 2)
        return self.narrow(F.silu(self.convolve(wide)).permute(0, 2, 3, 1))


def shift_in_time(x: Tensor, frames: int) -> Tensor:
    """Take some channels from the previous and some from the next frame; zeros past the ends. x: [B T, H, W, C]."""
    video = x.unflatten(0, (-1, frames))
    k = x.shape[-1] // SHIFT_DIVISOR
    zeros = torch.zeros_like(video[:, :1, ..., :k])
    before = torch.cat([zeros, video[:, :-1, ..., :k]], 1)
    after = torch.cat([video[:, 1:, ..., k : 2 * k], zeros], 1)
    return torch.cat([before, after, video[..., 2 * k :]], -1).flatten(0, 1)


class Attention(nn.Module):
    """Every token of the clip attends to all tokens of the clip and of both photographs.

    A feed-forward network follows.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.norm_photographs = nn.LayerNorm(channels)
        self.norm_out = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.out = nn.Linear(channels, channels)
        self.feed_forward = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.GELU("tanh"), nn.Linear(2 * channels, channels)
        )

    def forward(self, x: Tensor, photographs: Tensor, frames: int, angles: Tensor) -> Tensor:
        """x: [B T, C, H, W].  photographs: [2 B, C, H, W].  angles: see `rotary_angles`.  Returns [B T, C, H, W]."""
        shape = x.shape
        tokens = x.permute(0, 2, 3, 1).reshape(shape[0] // frames, -1, shape[1])
        photograph_tokens = photographs.permute(0, 2, 3, 1).reshape(len(tokens), -1, shape[1])
        inner = self.norm(tokens)
        query = self._split(self.query(inner))
        visible = torch.cat([inner, self.norm_photographs(photograph_tokens)], 1)
        key, value = (self._split(part) for part in self.key_value(visible).chunk(2, -1))
        query, key = turn(query, angles[: tokens.shape[1]]), turn(key, angles)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = tokens + self.out(mixed)
        tokens = tokens + self.feed_forward(self.norm_out(tokens))
        return tokens.reshape(shape[0], shape[2], shape[3], shape[1]).permute(0, 3, 1, 2)

    def _split(self, tokens: Tensor) -> Tensor:
        """[B, N, C] -> [B, heads, N, C / heads]."""
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def rotary_angles(frames: int, size: tuple[int, int], width: int, device: torch.device) -> Tensor:
    """Angles of the rotary position embedding (Su et al. 2021), [(T + 2) H W, width / 2].

    The clip's tokens come first, then the photographs'. A quarter of a head's channel pairs turn with the position
    along the path. The others turn with row and column.
    """
    pairs = width // 2
    time_pairs = pairs // 4
    row_pairs = (pairs - time_pairs) // 2
    counts = (time_pairs, row_pairs, pairs - time_pairs - row_pairs)
    path = torch.linspace(0, PATH_LENGTH, frames)
    axes = (torch.cat([path, path[[0, -1]]]), torch.arange(size[0]).float(), torch.arange(size[1]).float())
    grid = torch.meshgrid(*axes, indexing="ij")
    positions = zip(grid, counts, strict=True)
    angles = [position.reshape(-1, 1) * math.pi / 2 * 0.5 ** torch.arange(n) for position, n in positions]
    return torch.cat(angles, -1).to(device)


def turn(x: Tensor, angles: Tensor) -> Tensor:
    """Rotate pairs of channels. x: [B, heads, N, width].  angles: [N, width / 2]."""
    a, b = x.chunk(2, -1)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def sinusoids(t: Tensor, width: int) -> Tensor:
    """Embedding of a timestep (Vaswani et al. 2017). t: [B].  Returns [B, width], float32."""
    frequencies = torch.exp(-math.log(10_000) * torch.arange(width // 2, device=t.device) / (width // 2))
    angles = t[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], -1)
