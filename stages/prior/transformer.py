"""The multi-view transformer: self-attention and attention between views, in windows that shift from block to block.

Source: MVSplat (Chen et al. 2024, section 3.1; src/model/encoder/backbone/multiview_transformer.py), after UniMatch (Xu
et al. 2023).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.prior.config import PriorConfig

# Added to the attention logits of tokens that only the cyclic shift has put into one window (Swin, Liu et al. 2021).
OUTSIDE = -100.0


def sine_encoding(height: int, width: int, channels: int, like: Tensor) -> Tensor:
    """DETR's sinusoidal position encoding (Carion et al. 2020), [h, w, channels], with dtype and device of `like`.

    The first half of the channels encodes y, the second x. Sine and cosine alternate.
    """
    half = channels // 2
    index = torch.arange(half, dtype=like.dtype, device=like.device)
    frequency = 10000.0 ** (2 * torch.div(index, 2, rounding_mode="floor") / half)

    def encode(length: int) -> Tensor:
        position = torch.arange(1, length + 1, dtype=like.dtype, device=like.device) / (length + 1e-6) * 2 * math.pi
        angle = position[:, None] / frequency
        return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], -1).flatten(1)

    y, x = encode(height), encode(width)
    return torch.cat([y[:, None].expand(-1, width, -1), x[None].expand(height, -1, -1)], -1)


def to_windows(x: Tensor, splits: int) -> Tensor:
    """Cut a map [N, h, w, C] into splits x splits windows: [N, splits^2, tokens per window, C]."""
    n, h, w, c = x.shape
    x = x.reshape(n, splits, h // splits, splits, w // splits, c).transpose(2, 3)
    return x.reshape(n, splits * splits, -1, c)


def from_windows(x: Tensor, splits: int, size: tuple[int, int]) -> Tensor:
    """The inverse of `to_windows`; size: (h, w) of the map."""
    h, w = size
    x = x.reshape(-1, splits, splits, h // splits, w // splits, x.shape[-1]).transpose(2, 3)
    return x.reshape(-1, h, w, x.shape[-1])


def shift_mask(size: tuple[int, int], splits: int, like: Tensor) -> Tensor:
    """Additive attention mask of the shifted windows, [splits^2, tokens, tokens] (Swin, section 3.2)."""
    # After the cyclic shift the map consists of nine regions. Only tokens of the same region may attend to each other.
    region = torch.zeros(size, dtype=like.dtype, device=like.device)
    windows = size[0] // splits, size[1] // splits
    bands = [(slice(0, -n), slice(-n, -(n // 2)), slice(-(n // 2), None)) for n in windows]
    for row, rows in enumerate(bands[0]):
        for column, columns in enumerate(bands[1]):
            region[rows, columns] = row * 3 + column
    region = to_windows(region[None, :, :, None], splits)[0, ..., 0]
    return (region[:, :, None] != region[:, None, :]).to(like.dtype) * OUTSIDE


class AttentionLayer(nn.Module):
    """Attention with one head inside windows. hidden: width of a feed-forward network on [x, message]; 0 for none."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(channels, channels, bias=False)
        self.k_proj = nn.Linear(channels, channels, bias=False)
        self.v_proj = nn.Linear(channels, channels, bias=False)
        self.merge = nn.Linear(channels, channels, bias=False)
        self.norm1 = nn.LayerNorm(channels)
        self.feed_forward = hidden > 0
        if self.feed_forward:
            first, second = nn.Linear(2 * channels, hidden, bias=False), nn.Linear(hidden, channels, bias=False)
            self.mlp = nn.Sequential(first, nn.GELU(), second)
            self.norm2 = nn.LayerNorm(channels)

    def forward(self, x: Tensor, source: Tensor, mask: Tensor | None) -> Tensor:
        """Update x [N, windows, T, C] from source [N, windows, S, C]. mask: [windows, T, S], added to the logits."""
        # Windows take the place of torch's heads, so that the mask is not copied for every view.
        message = F.scaled_dot_product_attention(self.q_proj(x), self.k_proj(source), self.v_proj(source), mask)
        message = self.norm1(self.merge(message))
        if self.feed_forward:
            message = self.norm2(self.mlp(torch.cat([x, message], -1)))
        return x + message


class Block(nn.Module):
    """Self-attention, then cross-attention to the other views."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = AttentionLayer(channels, 0)
        self.cross_attn_ffn = AttentionLayer(channels, hidden)

    def forward(self, x: Tensor, others: Tensor, mask: Tensor | None) -> Tensor:
        x = self.self_attn(x, x, mask)
        tiled = None if mask is None else mask.repeat(1, 1, others.shape[2] // x.shape[2])
        return self.cross_attn_ffn(x, others, tiled)


class MultiViewTransformer(nn.Module):
    """Features of V views, [B, V, C, h, w] -> features of the same shape that depend on all views."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.splits = config.attention_splits
        channels, hidden = config.feature_channels, config.feed_forward_channels
        self.layers = nn.ModuleList(Block(channels, hidden) for _ in range(config.transformer_blocks))

    def forward(self, features: Tensor) -> Tensor:
        b, v, c, h, w = features.shape
        x = features.permute(0, 1, 3, 4, 2)  # [B, V, h, w, C]
        encoding = sine_encoding(h // self.splits, w // self.splits, c, features)
        x = x + encoding.repeat(self.splits, self.splits, 1)  # every window has the same encoding
        mask = shift_mask((h, w), self.splits, x)
        shift = h // self.splits // 2, w // self.splits // 2
        for index, block in enumerate(self.layers):
            is_shifted = index % 2 == 1
            if is_shifted:
                x = torch.roll(x, (-shift[0], -shift[1]), (2, 3))
            # Attention between views reads the other views' features as they were before this block.
            others = [to_windows(torch.roll(x, -step, 1).flatten(0, 1), self.splits) for step in range(1, v)]
            y = block(to_windows(x.flatten(0, 1), self.splits), torch.cat(others, 2), mask if is_shifted else None)
            x = from_windows(y, self.splits, (h, w)).view(b, v, h, w, c)
            if is_shifted:
                x = torch.roll(x, shift, (2, 3))
        return x.permute(0, 1, 4, 2, 3)
