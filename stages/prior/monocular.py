"""What one photograph alone says of depth: an encoder that has seen photographs, a decoder, and a fit to the matches.

Matching says nothing of what only one of two photographs shows. As in DepthSplat (Xu et al. 2025, section 3) the features of a
monocular network join the cost volume and the refinement. The network also predicts an inverse depth of unknown scale, which is fitted
to the confident matches of its own photograph, so that it can vote for a plane of the sweep like a match.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.prior.efficientnet import EfficientNetLite, EncoderConfig

HEADS = 4  # of the attention at 1/32 of the image's size
REWEIGHTINGS = 4  # of the robust fit to the matches
TYPICAL_RESIDUAL = 0.1  # of the logarithm of inverse depth: matches that lie farther from the fit count for less
SLOPE_PRIOR = 0.02  # variance of the logarithm of inverse depth that the prior belief in a slope of 1 is worth
SLOPES = (0.3, 3.0)  # bounds of the slope
LEAST_MATCHES = 1e-3  # weight in the fit of a match in the middle of the sweep that every pixel is given
SPREAD = (0.04, 0.6)  # bounds of the predicted uncertainty of the logarithm of inverse depth


@dataclass(frozen=True)
class MonocularConfig:
    """encoder: the multipliers of EfficientNet-Lite.  widths: channels of the decoder at 1/32, 1/16, 1/8 and 1/4 of the size."""

    encoder: EncoderConfig
    widths: tuple[int, int, int, int]


@dataclass(frozen=True)
class MonocularOutput:
    """half: [N, C0, H/2, W/2] and quarter: [N, C, H/4, W/4], features.

    log_inverse: [N, 1, H/4, W/4], logarithm of the inverse depth up to scale.  spread: the same shape, its expected absolute error.
    """

    half: Tensor
    quarter: Tensor
    log_inverse: Tensor
    spread: Tensor


class Fuse(nn.Module):
    """Bring coarse features to the size of finer ones, add both, and filter the sum."""

    def __init__(self, coarse: int, fine: int, outputs: int) -> None:
        super().__init__()
        self.coarse, self.fine = nn.Conv2d(coarse, outputs, 1), nn.Conv2d(fine, outputs, 1)
        self.filter = nn.Sequential(
            nn.Conv2d(outputs, outputs, 3, padding=1), nn.GELU(), nn.Conv2d(outputs, outputs, 3, padding=1)
        )

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        size = (fine.shape[-2], fine.shape[-1])
        x = F.interpolate(self.coarse(coarse), size, mode="bilinear", align_corners=False) + self.fine(fine)
        return x + self.filter(F.gelu(x))


class GlobalAttention(nn.Module):
    """Self-attention between all cells of the coarsest map, and a feed-forward layer: the large receptive field."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.qkv, self.merge = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.norm1(tokens)).view(n, h * w, 3, HEADS, c // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
        tokens = tokens + self.merge(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, h * w, c))
        tokens = tokens + self.mlp(self.norm2(tokens))
        return tokens.transpose(1, 2).reshape(n, c, h, w)


class Monocular(nn.Module):
    """Images [N, 3, H, W], sRGB in [0, 1], sides multiples of 4 -> `MonocularOutput`. Sides are extended to multiples of 32 inside."""

    def __init__(self, config: MonocularConfig) -> None:
        super().__init__()
        _, quarter, eighth, sixteenth, coarsest = config.encoder.tapped_channels
        w32, w16, w8, w4 = config.widths
        self.encoder = EfficientNetLite(config.encoder)
        self.top = nn.Conv2d(coarsest, w32, 1)
        # Where in the picture a cell lies says much about its depth: floors are near at the bottom.
        self.place = nn.Conv2d(2, w32, 1)
        self.attention = nn.Sequential(GlobalAttention(w32), GlobalAttention(w32))
        self.fuse16, self.fuse8, self.fuse4 = Fuse(w32, sixteenth, w16), Fuse(w16, eighth, w8), Fuse(w8, quarter, w4)
        self.head = nn.Sequential(nn.GELU(), nn.Conv2d(w4, w4, 3, padding=1), nn.GELU(), nn.Conv2d(w4, 2, 1))
        nn.init.zeros_(self.head[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.head[-1].bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> MonocularOutput:
        h, w = images.shape[-2:]
        extended = F.pad(images, (0, -w % 32, 0, -h % 32), mode="replicate").contiguous(memory_format=torch.channels_last)
        half, quarter, eighth, sixteenth, coarsest = self.encoder(extended)
        x = self.attention(self.top(coarsest) + self.place(_places(coarsest)))
        x = self.fuse4(self.fuse8(self.fuse16(x, sixteenth), eighth), quarter)[..., : h // 4, : w // 4]
        out = self.head(x).float()
        low, high = SPREAD
        spread = low * (high / low) ** torch.sigmoid(out[:, 1:])
        return MonocularOutput(half[..., : h // 2, : w // 2], x, out[:, :1], spread)


def _places(like: Tensor) -> Tensor:
    """Coordinates of the cells of a map from -1 to 1, x and y, [N, 2, h, w]."""
    n, _, h, w = like.shape
    y, x = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
    return torch.stack([x, y]).to(like).expand(n, 2, h, w)


def fit_to_matches(log_inverse: Tensor, matched: Tensor, weight: Tensor, candidates: Tensor) -> Tensor:
    """Scale the monocular inverse depth to the matches of its photograph: s * log_inverse + t, by robust least squares.

    log_inverse, matched, weight: [N, 1, h, w]; matched is the inverse depth that matching alone finds, weight >= 0 its trust.
    candidates: [N, D], the sweep's inverse depths.  Returns the fitted logarithm of inverse depth, [N, 1, h, w].
    Differentiable in all but the weights. Where nothing matches the fit falls back to the middle of the sweep with slope 1.
    """
    x, y = log_inverse.flatten(1), matched.clamp_min(1e-9).log().flatten(1)
    middle = candidates.log().median(1).values[:, None]
    trust = weight.flatten(1).detach()
    robust = trust
    for _ in range(REWEIGHTINGS):
        # Every pixel also has a weak match in the middle of the sweep, which decides where there are no others.
        total = robust.mean(1, keepdim=True) + LEAST_MATCHES
        mean_x = ((robust + LEAST_MATCHES) * x).mean(1, keepdim=True) / total
        mean_y = ((robust * y).mean(1, keepdim=True) + LEAST_MATCHES * middle) / total
        variance = (robust * (x - mean_x) ** 2).mean(1, keepdim=True) / total
        covariance = (robust * (x - mean_x) * (y - mean_y)).mean(1, keepdim=True) / total
        slope = ((covariance + SLOPE_PRIOR) / (variance + SLOPE_PRIOR)).clamp(*SLOPES)
        fitted = mean_y + slope * (x - mean_x)
        robust = trust / (1 + ((fitted - y).detach() / TYPICAL_RESIDUAL) ** 2)
    return fitted.view_as(log_inverse)


def vote(fitted: Tensor, spread: Tensor, candidates: Tensor) -> Tensor:
    """How much the monocular depth speaks for each candidate, in (0, 1]: a bump as wide as its uncertainty, [N, D, h, w].

    fitted, spread: [N, 1, h, w], logarithm of inverse depth.  candidates: [N, D], inverse depths.
    """
    distance = (candidates.log()[:, :, None, None] - fitted) / spread
    return torch.exp(-0.5 * distance**2)
