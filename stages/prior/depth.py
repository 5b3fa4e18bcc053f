"""From matches to depth: refine the cost volume, take the expected depth, sharpen it (MVSplat, section 3.1)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.prior.config import PriorConfig
from stages.prior.monocular import MonocularOutput, fit_to_sweep, vote
from stages.prior.plane_sweep import match_volumes
from stages.prior.point_votes import VOTE
from stages.prior.unet import UNet, ViewSequential

# Weights of the matching volumes (cosine, ZNCC, colour) and of the monocular vote in an untrained network's logits.
MATCH_SCALE, VOTE_SCALE = (0.5, 2.5, 2.0), 1.0
OPAQUE = 2.0  # logit of an untrained network's opacity, with `pixel_colour`


def bilinear_logits() -> Tensor:
    """Logits that blend the 3 x 3 coarse cells around a pixel like bilinear enlargement by 4, [9, 4, 4]."""
    cells = torch.eye(9).view(9, 1, 3, 3)
    inner = F.interpolate(cells, scale_factor=4, mode="bilinear", align_corners=False)[:, 0, 4:8, 4:8]
    return (inner + 0.02).log()  # cells that bilinear interpolation leaves out need a gradient too


def half_precision(images: Tensor, half: bool) -> torch.autocast:
    """A context in which convolutions compute in bfloat16 if `half` is true. Positions and depths need float32."""
    return torch.autocast(images.device.type, torch.bfloat16, enabled=half)


class DepthPredictor(nn.Module):
    """The layers from matches to depth, opacity and the raw parameters of one Gaussian per pixel."""

    bilinear: Tensor
    in_half: bool = False  # whether convolutions compute in bfloat16

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        c = config
        d, cells = c.depth_candidates, c.refine_stride**2
        monocular = fine = 0  # channels of the monocular features at 1/4 and at 1/2 of the image's size
        if c.monocular is not None:
            monocular, fine = c.monocular.widths[-1], c.monocular.encoder.tapped_channels[0]
            self.vote_scale = nn.Parameter(torch.tensor(VOTE_SCALE))
        self.corr_refine_net = ViewSequential(
            nn.Conv2d(c.match_channels, c.cost_channels, 3, padding=1),
            nn.GroupNorm(8, c.cost_channels),
            nn.GELU(),
            UNet(c.cost_channels, c.cost_levels, c.cost_attention),
            nn.Conv2d(c.cost_channels, d, 3, padding=1),
        )
        self.regressor_residual = nn.Conv2d(c.match_channels, d, 1)
        self.depth_head_lowres = _head(d, c.depth_head_channels, d)
        maps = 2 * c.feature_channels + monocular
        self.upsampler = nn.Sequential(nn.Conv2d(maps, c.upsampled_channels, 3, padding=1))
        self.proj_feature = nn.Conv2d(c.upsampled_channels, c.guide_channels, 3, padding=1)
        self.refine_unet = ViewSequential(
            nn.Conv2d(3 * cells + c.guide_channels + 2 + fine, c.refine_channels, 3, padding=1),
            nn.GroupNorm(4, c.refine_channels),
            nn.GELU(),
            UNet(c.refine_channels, c.refine_levels, c.refine_attention),
        )
        disparity = (2 + (9 if c.guided_upsampling else 0)) * cells
        self.to_disparity = _head(c.refine_channels, c.disparity_channels, disparity)
        gaussian_inputs = c.refine_channels + 3 * cells + c.upsampled_channels
        self.to_gaussians = _head(gaussian_inputs, c.gaussian_channels, c.gaussian_parameters * cells)
        if c.patch_radius:
            # An untrained network has the logits of a classical plane sweep, plus the votes of points and of the
            # monocular branch, if it gets them.
            self.match_scale = nn.Parameter(torch.tensor(MATCH_SCALE))
            _start_at_zero(self.depth_head_lowres[-1])
        if c.pixel_colour:
            # The Gaussians of an untrained network are pixels at the coarse depth, nearly opaque: sigmoid(2) is 0.88.
            _start_at_zero(self.to_disparity[-1], self.to_gaussians[-1])
        if c.guided_upsampling:
            self.register_buffer("bilinear", bilinear_logits(), persistent=False)

    def match(
        self,
        images: Tensor,
        features: Tensor,
        c2w: Tensor,
        K: Tensor,
        candidates: Tensor,
        monocular: MonocularOutput | None,
        votes_of_points: Tensor | None = None,
    ) -> Tensor:
        """Logits of the candidate depths at a quarter of the image's size, [N, D, H/4, W/4]. N is B * V in this class.

        images: [B, V, 3, H, W].  features: [B, V, C, H/4, W/4].  c2w: [B, V, 4, 4].  K: [B, V, 3, 3], px.
        candidates: [B, V, D], inverse depths.  monocular: output of the monocular branch for the N images.
        votes_of_points: [N, D, H/4, W/4], see `point_votes`, or None.
        """
        volumes = match_volumes(images, features, K, c2w, candidates, self.config)
        inputs = [*volumes, features.flatten(0, 1)]
        matches = torch.zeros_like(volumes[0])
        if self.config.patch_radius:
            for scale, volume in zip(self.match_scale, volumes[:3], strict=True):
                matches = matches + scale * volume
        if votes_of_points is not None:
            matches = matches + votes_of_points
        if monocular is not None:
            planes = candidates.flatten(0, 1)
            matched, weight = _confident(matches, planes, self.config.peak_radius)
            fitted = fit_to_sweep(monocular.log_inverse, matched, weight, planes)
            votes = vote(fitted, monocular.spread, planes)
            matches = matches + self.vote_scale * votes
            inputs += [votes, self.relative(fitted.exp(), candidates), monocular.spread, monocular.quarter_size]
        if self.config.reads_points:
            inputs.append(torch.zeros_like(matches) if votes_of_points is None else votes_of_points / VOTE)
        joined = torch.cat([x.to(features.dtype) for x in inputs], 1).contiguous(memory_format=torch.channels_last)
        with half_precision(images, self.in_half):
            refined = self.corr_refine_net(joined, images.shape[1]) + self.regressor_residual(joined)
            logits: Tensor = self.depth_head_lowres(refined)
        return logits.to(features.dtype) + matches

    def relative(self, inverse: Tensor, candidates: Tensor) -> Tensor:
        """Inverse depth [N, 1, ...] relative to the depth range: 0 at far, 1 at near, more for what is nearer."""
        far, extent = self.extent(candidates)
        return (inverse - far) / extent

    def extent(self, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """1 / far and 1 / near - 1 / far, [N, 1, 1, 1] each. candidates: [B, V, D]."""
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
        monocular: MonocularOutput | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sharpen the depth with the image and predict the rest of the Gaussians.

        images: [B, V, 3, H, W].  cnn, features: [B, V, C, H/4, W/4].  coarse: [N, 1, H/4, W/4], inverse depths.
        confidence: [N, 1, H/4, W/4].  candidates: [B, V, D], inverse depths.
        monocular: output of the monocular branch for the N images.
        Returns inverse depth [N, 1, H, W], opacity [N, 1, H, W] and raw parameters [N, gaussian_parameters, H, W].
        """
        config, stride = self.config, self.config.refine_stride
        planes = candidates.flatten(0, 1)[:, :, None, None]
        extent = self.extent(candidates)[1] if config.relative_disparity else torch.ones_like(planes[:, :1])

        image = F.pixel_unshuffle(images.flatten(0, 1), stride)  # [N, 3 s^2, H/s, W/s]
        image = image.contiguous(memory_format=torch.channels_last)
        size = (image.shape[-2], image.shape[-1])
        disparity = self.interpolate(coarse, size)
        if config.relative_disparity:
            disparity = self.relative(disparity, candidates)
        maps = [features.flatten(0, 1), cnn.flatten(0, 1)] + ([] if monocular is None else [monocular.quarter_size])
        with half_precision(images, self.in_half):
            upsampled = self.upsampler(torch.cat(maps, 1))
            upsampled = F.gelu(self.interpolate(upsampled, size))  # [N, C, H/s, W/s]
            inputs = [image, self.proj_feature(upsampled), disparity, F.interpolate(confidence, size, mode="nearest")]
            inputs += [] if monocular is None else [monocular.half_size]
            refined = self.refine_unet(torch.cat(inputs, 1), images.shape[1])  # [N, C, H/s, W/s]
            change = F.pixel_shuffle(self.to_disparity(refined), stride).to(images.dtype)  # [N, 2 or 11, H, W]
            raw = F.pixel_shuffle(self.to_gaussians(torch.cat([refined, image, upsampled], 1)), stride).to(images.dtype)
        fine = self.upsample(coarse, change[:, 2:]) + change[:, :1] * extent
        fine = torch.minimum(torch.maximum(fine, planes[:, :1]), planes[:, -1:])
        opacity = torch.sigmoid(change[:, 1:2] + (OPAQUE if config.pixel_colour else 0.0))
        return fine, opacity, raw

    def interpolate(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Resize bilinearly: align the corners of the images ("z") or the centres of their corner pixels ("ray")."""
        return F.interpolate(x, size, mode="bilinear", align_corners=self.config.depth_convention == "ray")

    def upsample(self, coarse: Tensor, blend: Tensor) -> Tensor:
        """Bring coarse inverse depth to the image's size, [N, 1, H/4, W/4] -> [N, 1, H, W].

        blend: [N, 9, H, W], logits of the 3 x 3 cells around each pixel, added to those of bilinear interpolation (Teed
        and Deng 2020, section 3.3). Without `guided_upsampling` it is empty, and the depth is interpolated.
        """
        n, _, h, w = coarse.shape
        if not self.config.guided_upsampling:
            return self.interpolate(coarse, (4 * h, 4 * w))
        weights = torch.softmax(blend + self.bilinear.repeat(1, h, w), 1)
        cells = F.unfold(F.pad(coarse, (1, 1, 1, 1), mode="replicate"), 3).view(n, 9, h, w)
        return (weights * F.interpolate(cells, scale_factor=4, mode="nearest")).sum(1, keepdim=True)


def _confident(logits: Tensor, candidates: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """The expected inverse depth and its weight, [N, 1, h, w] each.

    The weight is the square of the confidence, and 0 where the best candidate is the first or the last.
    """
    value, confidence = expected(logits, candidates, radius)
    best = logits.argmax(1, keepdim=True)
    inner = (best > 0) & (best < logits.shape[1] - 1)
    return value, confidence**2 * inner


def expected(logits: Tensor, candidates: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Expected candidate and confidence, both [N, 1, h, w].

    logits: [N, D, h, w].  candidates: [N, D].  radius: the expectation is over this many candidates on each side of the
    best, so that it cannot fall between two surfaces, and the confidence is their probability. With 0 it is over all
    candidates, and the confidence is the largest probability, as in MVSplat's code.
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
