"""The 2D UNet that refines the cost volume, and later the depth (MVSplat, Chen et al. 2024, section 3.1).

It is the UNet of latent diffusion without time embedding, with norms after the convolutions, and with attention across
the views of a scene (released code: src/model/encoder/costvolume/ldm_unet/unet.py).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD = 32  # channels per attention head


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation with eight groups if they divide the channels, else with four."""
    return nn.GroupNorm(8 if channels % 8 == 0 else 4, channels)


def zero_norm(channels: int) -> nn.GroupNorm:
    """A group normalisation with zero weights at first, so that its block starts as its skip connection alone."""
    norm = group_norm(channels)
    nn.init.zeros_(norm.weight)
    nn.init.zeros_(norm.bias)
    return norm


class ResidualBlock(nn.Module):
    """Convolution, norm and SiLU, twice, plus the input. [N, inputs, h, w] -> [N, outputs, h, w]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), group_norm(outputs), nn.SiLU())
        self.out_layers = nn.Sequential(nn.Conv2d(outputs, outputs, 3, padding=1), zero_norm(outputs), nn.SiLU())
        self.skip_connection = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip_connection(x) + self.out_layers(self.in_layers(x))


class CrossViewAttention(nn.Module):
    """Attention between the pixels of a scene's views, then a norm, plus the input. [B * V, C, h, w] -> same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)
        self.norm = zero_norm(channels)

    def forward(self, x: Tensor, views: int) -> Tensor:
        n, c, h, w = x.shape
        b = n // views
        tokens = x.reshape(b, views, c, h * w).transpose(1, 2).reshape(b, c, views * h * w)
        # The channels are head by head, and within a head q, then k, then v.
        q, k, v = self.qkv(tokens).view(b, c // HEAD, 3, HEAD, -1).transpose(-1, -2).unbind(2)
        message = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(b, c, -1)
        message = self.proj_out(message).view(b, c, views, h, w).transpose(1, 2).reshape(n, c, h, w)
        return x + self.norm(message)  # the norm treats every view alone


class Downsample(nn.Module):
    """Halve the height and width of a map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, 2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    """Double the height and width of a map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class ViewSequential(nn.Sequential):
    """Modules one after another. Those that work across views also get the number of views."""

    def forward(self, x: Tensor, views: int) -> Tensor:  # type: ignore[override]
        for module in self:
            x = module(x, views) if isinstance(module, CrossViewAttention | UNet) else module(x)
        return x


class UNet(nn.Module):
    """[B * V, C, h, w] -> [B * V, C, h, w], with h and w divisible by 2^(levels - 1).

    attention: the downsampling factors (1, 2, 4, ...) at which blocks end with cross-view attention.
    """

    def __init__(self, channels: int, levels: int, attention: tuple[int, ...]) -> None:
        super().__init__()

        def attend(level: int) -> list[nn.Module]:
            return [CrossViewAttention(channels)] if 2**level in attention else []

        # Way down: a block per level, then a halving.
        self.input_blocks = nn.ModuleList([ViewSequential(nn.Conv2d(channels, channels, 3, padding=1))])
        for level in range(levels):
            self.input_blocks.append(ViewSequential(ResidualBlock(channels, channels), *attend(level)))
            if level < levels - 1:
                self.input_blocks.append(ViewSequential(Downsample(channels)))
        # The identity stands for an attention that MVSplat removed. It keeps the numbers in the weights' names.
        first, second = ResidualBlock(channels, channels), ResidualBlock(channels, channels)
        self.middle_block = nn.Sequential(first, nn.Identity(), second)
        # Way up: two blocks per level, which also get the maps of the way down, then a doubling.
        self.output_blocks = nn.ModuleList()
        for level in reversed(range(levels)):
            self.output_blocks.append(ViewSequential(ResidualBlock(2 * channels, channels), *attend(level)))
            up = [Upsample(channels)] if level > 0 else []
            self.output_blocks.append(ViewSequential(ResidualBlock(2 * channels, channels), *attend(level), *up))
        self.out = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), group_norm(channels), nn.SiLU())

    def forward(self, x: Tensor, views: int) -> Tensor:
        skips: list[Tensor] = []
        for stage in self.input_blocks:
            x = stage(x, views)
            skips.append(x)
        x = self.middle_block(x)
        for stage in self.output_blocks:
            x = stage(torch.cat([x, skips.pop()], 1), views)
        return self.out(x)
