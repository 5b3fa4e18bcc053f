"""From matches to depth: refine the volume, take the expected candidate, sharpen it with the image (SPEC 3.5 to 3.7)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.prior.config import PriorConfig
from stages.prior.monocular import MonocularOutput, fit_to_matches, vote
from stages.prior.plane_sweep import match_volumes
from stages.prior.unet import UNet, ViewSequential

MATCH_SCALE = (0.5, 2.5, 2.0)  # logits per unit of each matching volume before any training (cosine, ZNCC, colour; see GAINS)
VOTE_SCALE = 1.0  # logits of a full vote of the monocular depth, before any training
OPAQUE = 2.0  # logit of the opacity before any training, where the network starts from its pixels


def bilinear_logits() -> Tensor:
    """Logits that blend the 3 x 3 coarse cells around a pixel as bilinear interpolation by 4 does, [9, 4, 4]."""
    cells = torch.eye(9).view(9, 1, 3, 3)
    inner = F.interpolate(cells, scale_factor=4, mode="bilinear", align_corners=False)[:, 0, 4:8, 4:8]
    return (inner + 0.02).log()  # cells that bilinear interpolation leaves out still get a gradient


def half_precision(images: Tensor, half: bool) -> torch.autocast:
    """Where convolutions may compute in bfloat16, if `half`; everywhere else positions and depths need all their digits."""
    return torch.autocast(images.device.type, torch.bfloat16, enabled=half)


class DepthPredictor(nn.Module):
    """The layers from matches to depth, opacity and the raw parameters of one Gaussian a pixel; `MVSplat.forward` has them in order."""

    bilinear: Tensor
    in_half: bool = False  # see `half_precision`

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        c = config
        d, cells = c.depth_candidates, c.refine_stride**2
        volume = d + c.feature_channels + (2 * d + 1 if c.patch_radius else 0)
        alone = half = 0  # channels of the monocular features at 1/4 and at 1/2
        if c.monocular is not None:
            alone, half = c.monocular.widths[-1], c.monocular.encoder.tapped_channels[0]
            volume += d + 2 + alone
            self.vote_scale = nn.Parameter(torch.tensor(VOTE_SCALE))
        self.corr_refine_net = ViewSequential(
            nn.Conv2d(volume, c.cost_channels, 3, padding=1),
            nn.GroupNorm(8, c.cost_channels),
            nn.GELU(),
            UNet(c.cost_channels, c.cost_levels, c.cost_attention),
            nn.Conv2d(c.cost_channels, d, 3, padding=1),
        )
        self.regressor_residual = nn.Conv2d(volume, d, 1)
        self.depth_head_lowres = nn.Sequential(
            nn.Conv2d(d, c.depth_head_channels, 3, padding=1), nn.GELU(), nn.Conv2d(c.depth_head_channels, d, 3, padding=1)
        )
        self.upsampler = nn.Sequential(nn.Conv2d(c.feature_channels * 2 + alone, c.upsampled_channels, 3, padding=1))
        self.proj_feature = nn.Conv2d(c.upsampled_channels, c.guide_channels, 3, padding=1)
        self.refine_unet = ViewSequential(
            nn.Conv2d(3 * cells + c.guide_channels + 2 + half, c.refine_channels, 3, padding=1),
            nn.GroupNorm(4, c.refine_channels),
            nn.GELU(),
            UNet(c.refine_channels, c.refine_levels, c.refine_attention),
        )
        disparity = (2 + (9 if c.guided_upsampling else 0)) * cells
        self.to_disparity = _head(c.refine_channels, c.disparity_channels, disparity)
        gaussian_inputs = c.refine_channels + 3 * cells + c.upsampled_channels
        self.to_gaussians = _head(gaussian_inputs, c.gaussian_channels, c.gaussian_parameters * cells)
        if c.patch_radius:
            # Before training the logits are those of a classical plane sweep.
            self.match_scale = nn.Parameter(torch.tensor(MATCH_SCALE))
            _start_at_zero(self.depth_head_lowres[-1])
        if c.pixel_colour:
            # Before training the Gaussians are opaque pixels at the coarse depth.
            _start_at_zero(self.to_disparity[-1], self.to_gaussians[-1])
        if c.guided_upsampling:
            self.register_buffer("bilinear", bilinear_logits(), persistent=False)

    def match(
        self, images: Tensor, features: Tensor, c2w: Tensor, K: Tensor, candidates: Tensor, alone: MonocularOutput | None
    ) -> Tensor:
        """Logits of the candidate depths of every quarter-size pixel, [N, D, H/4, W/4]; N = B * V here and below.

        images: [B, V, 3, H, W].  features: [B, V, C, H/4, W/4].  c2w: [B, V, 4, 4].  K: [B, V, 3, 3], px.  candidates: [B, V, D], 1/depth.
        alone: what the monocular branch says of the N images.
        """
        volumes = match_volumes(images, features, K, c2w, candidates, self.config)
        inputs = [*volumes, features.flatten(0, 1)]
        matches = torch.zeros_like(volumes[0])
        if self.config.patch_radius:
            for scale, volume in zip(self.match_scale, volumes[:3], strict=True):
                matches = matches + scale * volume
        if alone is not None:
            planes = candidates.flatten(0, 1)
            fitted = fit_to_matches(alone.log_inverse, *_confident(matches, planes, self.config.peak_radius), planes)
            votes = vote(fitted, alone.spread, planes)
            matches = matches + self.vote_scale * votes
            inputs += [votes, self.relative(fitted.exp(), candidates), alone.spread, alone.quarter]
        joined = torch.cat([x.to(features.dtype) for x in inputs], 1).contiguous(memory_format=torch.channels_last)
        with half_precision(images, self.in_half):
            refined = self.corr_refine_net(joined, images.shape[1]) + self.regressor_residual(joined)
            logits: Tensor = self.depth_head_lowres(refined)
        return logits.float() + matches

    def relative(self, inverse: Tensor, candidates: Tensor) -> Tensor:
        """Inverse depth [N, 1, ...] as a fraction of the range from far to near that matches show; beyond 1 it is nearer."""
        far, extent = self.extent(candidates)
        return (inverse - far) / extent

    def extent(self, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse of far, and that of near less it, [N, 1, 1, 1] each. candidates: [B, V, D]."""
        planes = candidates.flatten(0, 1)[:, :, None, None]
        far, near = planes[:, :1], planes[:, -1 - self.config.nearer_candidates, None]
        return far, near - far

    def refine(
        self,
        images: Tensor,
        cnn: Tensor,
        features: Tensor,
        coarse: Tensor,
        confidence: Tensor,
        candidates: Tensor,
        alone: MonocularOutput | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sharpen the depth with the image and predict the rest of the Gaussians.

        images: [B, V, 3, H, W].  cnn, features: [B, V, C, H/4, W/4].  coarse (1/depth), confidence: [N, 1, H/4, W/4].
        candidates: [B, V, D], 1/depth.  alone: what the monocular branch says of the N images.
        Returns inverse depth [N, 1, H, W], opacity [N, 1, H, W] and raw Gaussian parameters [N, G, H, W].
        """
        config, stride = self.config, self.config.refine_stride
        planes = candidates.flatten(0, 1)[:, :, None, None]
        extent = self.extent(candidates)[1] if config.relative_disparity else torch.ones_like(planes[:, :1])

        image = F.pixel_unshuffle(images.flatten(0, 1), stride).contiguous(memory_format=torch.channels_last)  # [N, 3 s^2, H/s, W/s]
        size = (image.shape[-2], image.shape[-1])
        disparity = self.interpolate(coarse, size)
        if config.relative_disparity:
            disparity = self.relative(disparity, candidates)
        maps = [features.flatten(0, 1), cnn.flatten(0, 1)] + ([] if alone is None else [alone.quarter])
        with half_precision(images, self.in_half):
            upsampled = self.upsampler(torch.cat(maps, 1))
            upsampled = F.gelu(self.interpolate(upsampled, size))  # [N, C, H/s, W/s]
            seen = [image, self.proj_feature(upsampled), disparity, F.interpolate(confidence, size, mode="nearest")]
            seen += [] if alone is None else [alone.half]
            refined = self.refine_unet(torch.cat(seen, 1), images.shape[1])  # [N, C, H/s, W/s]
            change = F.pixel_shuffle(self.to_disparity(refined), stride).float()  # [N, 2 or 11, H, W]
            raw = F.pixel_shuffle(self.to_gaussians(torch.cat([refined, image, upsampled], 1)), stride).float()
        fine = self.upsample(coarse, change[:, 2:]) + change[:, :1] * extent
        fine = torch.minimum(torch.maximum(fine, planes[:, :1]), planes[:, -1:])
        opacity = torch.sigmoid(change[:, 1:2] + (OPAQUE if config.pixel_colour else 0.0))
        return fine, opacity, raw

    def interpolate(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Bilinear; corners on corners as upstream has it, or pixel centres where they are."""
        return F.interpolate(x, size, mode="bilinear", align_corners=self.config.depth_convention == "ray")

    def upsample(self, coarse: Tensor, blend: Tensor) -> Tensor:
        """Bring coarse inverse depth to the image's size, [N, 1, H/4, W/4] -> [N, 1, H, W].

        blend: [N, 9, H, W], logits of the 3 x 3 cells around each pixel, added to those of bilinear interpolation (Teed & Deng 2020,
        section 3.3); without `guided_upsampling` it is empty and the interpolation is upstream's.
        """
        n, _, h, w = coarse.shape
        if not self.config.guided_upsampling:
            return self.interpolate(coarse, (4 * h, 4 * w))
        weights = torch.softmax(blend + self.bilinear.repeat(1, h, w), 1)
        cells = F.unfold(F.pad(coarse, (1, 1, 1, 1), mode="replicate"), 3).view(n, 9, h, w)
        return (weights * F.interpolate(cells, scale_factor=4, mode="nearest")).sum(1, keepdim=True)


def _confident(logits: Tensor, candidates: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """The inverse depth that logits of matching find, and how far to trust it, [N, 1, h, w] each; a peak at an end is not trusted."""
    value, confidence = expected(logits, candidates, radius)
    best = logits.argmax(1, keepdim=True)
    inner = (best > 0) & (best < logits.shape[1] - 1)
    return value, confidence**2 * inner


def expected(logits: Tensor, candidates: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Expected candidate and confidence, both [N, 1, h, w].

    logits: [N, D, h, w].  candidates: [N, D].  radius 0: the expectation over all candidates and the largest probability (upstream);
    else the expectation over `radius` candidates on each side of the best, which cannot fall between two surfaces, and their probability.
    """
    probability = torch.softmax(logits, 1)
    values = candidates[:, :, None, None]
    if radius == 0:
        return (probability * values).sum(1, keepdim=True), probability.amax(1, keepdim=True)
    index = torch.arange(logits.shape[1], device=logits.device)[:, None, None]
    near_peak = (index - logits.argmax(1, keepdim=True)).abs() <= radius
    probability = probability * near_peak
    confidence = probability.sum(1, keepdim=True)
    return (probability * values).sum(1, keepdim=True) / confidence, confidence


def _head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, hidden, 3, padding=1), nn.GELU(), nn.Conv2d(hidden, outputs, 3, padding=1))


def _start_at_zero(*layers: nn.Module) -> None:
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
