"""MVSplat: posed images -> one 3D Gaussian per pixel (Chen et al. 2024). `MVSplat.forward` shows every stage.

Sizes and conventions come from a `PriorConfig`. Parameters have the names of MVSplat's released checkpoint.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stages.errors import InputError
from stages.geometry import resize_intrinsics
from stages.prior.config import PriorConfig
from stages.prior.depth import DepthPredictor, expected, half_precision
from stages.prior.features import FeatureCNN
from stages.prior.gaussian_head import GaussianAdapter
from stages.prior.monocular import Monocular, MonocularOutput
from stages.prior.plane_sweep import inverse_depths
from stages.prior.point_votes import point_votes
from stages.prior.rotate_harmonics import to_standard_basis
from stages.prior.transformer import MultiViewTransformer
from stages.scene import Gaussians

MULTIPLE = 16  # the sides of an image are multiples of this

ImageFeatures = tuple[Tensor, Tensor, MonocularOutput | None]
"""CNN features and multi-view features, both [B, V, C, H/4, W/4], and the monocular output of the B * V images."""


@dataclass(frozen=True)
class PriorOutput:
    """What the network predicts for a batch of B scenes of V views.

    Each scene has G = V * H * W Gaussians, view by view and row by row.
    means, scales: [B, G, 3], scene units.  quats: [B, G, 4], wxyz, world.  opacities: [B, G].
    sh: [B, G, K, 3], in the basis of 3DGS, world axes.
    depth: [B, V, H, W], camera z. With the depth convention "ray", it is the distance along the ray.
    confidence: [B, V, H, W], probability of the coarse depth, see `depth.expected`.
    depth_logits: [B, V, D, H/4, W/4], before the softmax.  inverse_depths: [B, V, D], the candidates, far first.
    monocular: output of the monocular branch for the B * V images, or None without that branch.
    """

    means: Tensor
    scales: Tensor
    quats: Tensor
    opacities: Tensor
    sh: Tensor
    depth: Tensor
    confidence: Tensor
    depth_logits: Tensor
    inverse_depths: Tensor
    monocular: MonocularOutput | None

    def scene(self, index: int) -> Gaussians:
        """The Gaussians of one scene of the batch."""
        fields = (self.means, self.scales, self.quats, self.opacities, self.sh)
        return Gaussians(*(field[index] for field in fields))


class Backbone(nn.Module):
    """Images [B, V, 3, H, W] -> their `ImageFeatures`."""

    in_half: bool = False  # whether convolutions and attention compute in bfloat16

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.backbone = FeatureCNN(config)
        self.transformer = MultiViewTransformer(config)
        self.monocular = None if config.monocular is None else Monocular(config.monocular)

    def forward(self, images: Tensor) -> ImageFeatures:
        with half_precision(images, self.in_half):
            cnn = self.backbone(images.flatten(0, 1))
            cnn = cnn.view(*images.shape[:2], *cnn.shape[1:])
            matched = self.transformer(cnn)
        monocular = None if self.monocular is None else self.monocular_output(images.flatten(0, 1))
        return cnn.to(images.dtype), matched.to(images.dtype), monocular

    def monocular_output(self, images: Tensor) -> MonocularOutput:
        """Run the monocular branch on images [N, 3, H, W]. The network must have one."""
        assert self.monocular is not None
        with half_precision(images, self.in_half):
            output: MonocularOutput = self.monocular(images)
        return output


class MVSplat(nn.Module):
    """The whole network. Differentiable in images and cameras."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.depth_predictor = DepthPredictor(config)
        self.adapter = GaussianAdapter(config)
        # Convolutions on a CPU are three times faster in this layout.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def compute_in_half(self, half: bool = True) -> None:
        """Let convolutions and attention compute in bfloat16, for training on a GPU. This changes depths a little."""
        self.backbone.in_half = self.depth_predictor.in_half = half

    def forward(
        self,
        images: Tensor,
        c2w: Tensor,
        K: Tensor,
        near_far: Tensor,
        features: ImageFeatures | None = None,
        points: Tensor | None = None,
    ) -> PriorOutput:
        """Predict the Gaussians and the depth of B scenes of V views.

        images: [B, V, 3, H, W], sRGB in [0, 1], sides multiples of 16.  c2w: [B, V, 4, 4], OpenCV camera-to-world.
        K: [B, V, 3, 3], px.  near_far: [B, V, 2], the depth range of each view, scene units.
        features: the result of `backbone` for these images, if it is known.
        points: [B, P, 3], world points that both views show, from their matches; only for V = 2. They vote for their
        depths in a network with `patch_radius`, as `small` has; `re10k` stays as published.
        Raises InputError on fewer than two views, on sizes that do not fit, or when 0 < near < far does not hold.
        """
        _check(images, c2w, K, near_far)
        b, v, _, h, w = images.shape
        cnn, matched, monocular = self.backbone(images) if features is None else features
        config = self.config
        candidates = inverse_depths(near_far, config.depth_candidates, config.nearer_candidates)  # [B, V, D], far first
        votes = None
        if points is not None and config.patch_radius:
            cells = (h // 4, w // 4)
            scenes = zip(points, resize_intrinsics(K, (h, w), cells), c2w, candidates, strict=True)
            votes = torch.cat([point_votes(*scene, cells) for scene in scenes])
        # Votes and logits are [B * V, D, H/4, W/4].
        logits = self.depth_predictor.match(images, matched, c2w, K, candidates, monocular, votes)
        # Both are [B * V, 1, H/4, W/4].
        coarse, confidence = expected(logits, candidates.flatten(0, 1), config.peak_radius)
        # All three are [B * V, ..., H, W].
        fine, opacity, raw = self.depth_predictor.refine(
            images, cnn, matched, coarse, confidence, candidates, monocular
        )
        gaussians = self.adapter(raw, fine, opacity, images, c2w, K)
        return PriorOutput(
            means=gaussians.means,
            scales=gaussians.scales,
            quats=gaussians.quats,
            opacities=gaussians.opacities,
            sh=to_standard_basis(gaussians.harmonics),
            depth=1 / fine.view(b, v, h, w),
            confidence=nn.functional.interpolate(confidence, (h, w), mode="nearest").view(b, v, h, w),
            depth_logits=logits.unflatten(0, (b, v)),
            inverse_depths=candidates,
            monocular=monocular,
        )


def _check(images: Tensor, c2w: Tensor, K: Tensor, near_far: Tensor) -> None:
    what = "the prior cannot use this input"
    if images.dim() != 5 or images.shape[2] != 3 or images.shape[1] < 2:
        why = f"images have shape {tuple(images.shape)}"
        raise InputError(what, why, "give [B, V, 3, H, W] with at least two views")
    b, v, _, h, w = images.shape
    if h % MULTIPLE or w % MULTIPLE or not h or not w:
        raise InputError(what, f"images are {w} x {h} pixels", f"crop both sides to multiples of {MULTIPLE}")
    for name, value, shape in (("c2w", c2w, (b, v, 4, 4)), ("K", K, (b, v, 3, 3)), ("near_far", near_far, (b, v, 2))):
        if value.shape != shape:
            raise InputError(what, f"{name} has shape {tuple(value.shape)}", f"give {shape}")
    if not bool(((near_far[..., 0] > 0) & (near_far[..., 1] > near_far[..., 0])).all()):
        why = "near and far do not satisfy 0 < near < far"
        raise InputError(what, why, "give the depth range of the scene in its own units")
