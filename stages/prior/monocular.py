"""The monocular branch: depth from a single photograph, by a pretrained encoder, a decoder, and a fit to the sweep.

The plane sweep gives no depth where only one of the two photographs shows a surface. As in DepthSplat (Xu et al. 2025,
section 3), features of a monocular network join the cost volume and the refinement. The network also predicts an
inverse depth of unknown scale. It is fitted to the confident depths of the sweep in its photograph, and then votes for
planes of the sweep.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.prior.efficientnet import EfficientNetLite, EncoderConfig

HEADS = 4  # attention heads
REWEIGHTINGS = 4  # iterations of the robust fit to the sweep
TYPICAL_RESIDUAL = 0.1  # a depth of the sweep counts half if its log inverse differs from the fit by this much
SLOPE_PRIOR = 0.02  # added to the variance and the covariance of log inverse depths, which draws the slope towards 1
SLOPES = (0.3, 3.0)  # bounds of the slope, the factor of the fit on the predicted log inverse depth
ARTIFICIAL_WEIGHT = 1e-3  # weight of the artificial depth in the middle of the sweep that each pixel has
SPREAD = (0.04, 0.6)  # bounds of the predicted uncertainty of log inverse depth


@dataclass(frozen=True)
class MonocularConfig:
    """The sizes of the branch's layers.

    encoder: which EfficientNet-Lite.  widths: channels of the decoder at 1/32, 1/16, 1/8 and 1/4 of the image's size.
    """

    encoder: EncoderConfig
    widths: tuple[int, int, int, int]


@dataclass(frozen=True)
class MonocularOutput:
    """The output of the branch for N images.

    half_size: [N, C0, H/2, W/2], features.  quarter_size: [N, C, H/4, W/4], features.
    log_inverse: [N, 1, H/4, W/4], logarithm of inverse depth, up to scale.
    spread: [N, 1, H/4, W/4], expected absolute error of log_inverse.
    """

    half_size: Tensor
    quarter_size: Tensor
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
    """Self-attention between all cells of the coarsest map, then a feed-forward layer."""

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
    """Images [N, 3, H, W], sRGB in [0, 1], sides multiples of 4 -> `MonocularOutput`."""

    def __init__(self, config: MonocularConfig) -> None:
        super().__init__()
        _, quarter, eighth, sixteenth, coarsest = config.encoder.tapped_channels
        w32, w16, w8, w4 = config.widths
        self.encoder = EfficientNetLite(config.encoder)
        self.top = nn.Conv2d(coarsest, w32, 1)
        # The position of a cell in the picture says much about its depth: what is at the bottom is often near.
        self.place = nn.Conv2d(2, w32, 1)
        self.attention = nn.Sequential(GlobalAttention(w32), GlobalAttention(w32))
        self.fuse16, self.fuse8, self.fuse4 = Fuse(w32, sixteenth, w16), Fuse(w16, eighth, w8), Fuse(w8, quarter, w4)
        self.head = nn.Sequential(nn.GELU(), nn.Conv2d(w4, w4, 3, padding=1), nn.GELU(), nn.Conv2d(w4, 2, 1))
        nn.init.zeros_(self.head[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.head[-1].bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> MonocularOutput:
        h, w = images.shape[-2:]
        # The encoder needs sides that are multiples of 32.
        extended = F.pad(images, (0, -w % 32, 0, -h % 32), mode="replicate").contiguous(
            memory_format=torch.channels_last
        )
        half, quarter, eighth, sixteenth, coarsest = self.encoder(extended)
        x = self.attention(self.top(coarsest) + self.place(_places(coarsest)))
        x = self.fuse4(self.fuse8(self.fuse16(x, sixteenth), eighth), quarter)[..., : h // 4, : w // 4]
        out = self.head(x).to(images.dtype)
        low, high = SPREAD
        spread = low * (high / low) ** torch.sigmoid(out[:, 1:])
        return MonocularOutput(half[..., : h // 2, : w // 2], x, out[:, :1], spread)


def _places(like: Tensor) -> Tensor:
    """The x and y of each cell of a map, from -1 to 1, [N, 2, h, w]."""
    n, _, h, w = like.shape
    y, x = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
    return torch.stack([x, y]).to(like).expand(n, 2, h, w)


def fit_to_sweep(log_inverse: Tensor, matched: Tensor, weight: Tensor, candidates: Tensor) -> Tensor:
    """Fit slope * log_inverse + offset to the confident depths of the sweep, by robust least squares.

    log_inverse: [N, 1, h, w].  matched: [N, 1, h, w], inverse depths that the sweep found.  weight: [N, 1, h, w], how
    confident these are.  candidates: [N, D], inverse depths of the sweep.
    Returns the fitted logarithm of inverse depth, [N, 1, h, w]. Each photograph is fitted alone.
    Differentiable in all but the weights. If all weights are 0, the slope is 1, and the mean of the result is the
    logarithm of the middle candidate.
    """
    x, y = log_inverse.flatten(1), matched.clamp_min(1e-9).log().flatten(1)
    middle = candidates.log().median(1).values[:, None]
    trust = weight.flatten(1).detach()
    robust = trust
    for _ in range(REWEIGHTINGS):
        # Every pixel also has a weak artificial depth in the middle of the sweep, for images without confident depths.
        total = robust.mean(1, keepdim=True) + ARTIFICIAL_WEIGHT
        mean_x = ((robust + ARTIFICIAL_WEIGHT) * x).mean(1, keepdim=True) / total
        mean_y = ((robust * y).mean(1, keepdim=True) + ARTIFICIAL_WEIGHT * middle) / total
        variance = (robust * (x - mean_x) ** 2).mean(1, keepdim=True) / total
        covariance = (robust * (x - mean_x) * (y - mean_y)).mean(1, keepdim=True) / total
        slope = ((covariance + SLOPE_PRIOR) / (variance + SLOPE_PRIOR)).clamp(*SLOPES)
        fitted = mean_y + slope * (x - mean_x)
        robust = trust / (1 + ((fitted - y).detach() / TYPICAL_RESIDUAL) ** 2)
    return fitted.view_as(log_inverse)


def vote(fitted: Tensor, spread: Tensor, candidates: Tensor) -> Tensor:
    """The vote for each candidate, [N, D, h, w] in (0, 1]: a bell curve about the monocular depth.

    fitted: [N, 1, h, w], log inverse depth.  spread: [N, 1, h, w], its expected error.
    candidates: [N, D], inverse depths.
    """
    distance = (candidates.log()[:, :, None, None] - fitted) / spread
    return torch.exp(-0.5 * distance**2)
