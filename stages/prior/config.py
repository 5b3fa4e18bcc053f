"""The sizes and conventions of the prior's network, for each kind of weights that it may have.

RE10K has the sizes of MVSplat's released network (Chen et al. 2024). SMALL has the same stages, for a laptop's CPU.
It also matches patches, has a monocular branch that sees one photograph at a time, and takes votes of matched points.
"""

from dataclasses import dataclass, replace
from typing import Literal

from stages.prior.efficientnet import EncoderConfig
from stages.prior.monocular import MonocularConfig


@dataclass(frozen=True)
class PriorConfig:
    """Sizes and conventions of `MVSplat`. "Upstream" is MVSplat's released code.

    cnn_channels: widths of the three CNN levels, at 1/2, 1/4 and 1/4 of the image's size.
    feature_channels: width of the transformer and of the matched features.
    feed_forward_channels: hidden width of the transformer's feed-forward networks.
    transformer_blocks: number of blocks of self-attention and cross-attention.
    attention_splits: number of attention windows along each side of the feature map.
    depth_candidates: number of planes of the sweep.
    nearer_candidates: how many of these planes lie nearer than the near depth. Matches do not tell how near things are
        that only one photograph shows. See `plane_sweep.inverse_depths`.
    cost_channels, cost_levels, cost_attention: width, number of levels, and downsampling factors with attention, of the
        UNet on the cost volume.
    depth_head_channels: hidden width of the head that turns the refined volume into logits.
    upsampled_channels: width of the features at the refinement's resolution.
    guide_channels: width to which these features are reduced for the refinement.
    refine_channels, refine_levels, refine_attention: what cost_channels, cost_levels and cost_attention are, for the
        UNet of the refinement.
    refine_stride: side in pixels of the blocks that the refinement sees as one cell; 1 is full resolution.
    disparity_channels: hidden width of the head `to_disparity`, which predicts the final depth and the opacity.
    gaussian_channels: hidden width of the head `to_gaussians`, which predicts the rest of a Gaussian.
    sh_degree: degree of the spherical harmonics of a Gaussian.
    scale_min, scale_max: bounds of a Gaussian's size, in fifths of a pixel's footprint (see gaussian_head.py).
    depth_convention: "z" follows stages/scene.py, and masks points behind the other camera. "ray" is upstream's: the
        depth that was swept as camera z is used as distance along the ray, pixels are sampled at whole coordinates, K
        of the reference view serves both views, and nothing is masked.
    patch_radius: above 0, windows of the images are compared too, by ZNCC (zero-mean normalised cross-correlation) and
        colour. Such a window has 2 patch_radius + 1 cells of the quarter-size map on each side.
    unit_features: subtract the mean of the features and scale them to unit length, so that their products are cosines.
    peak_radius: the depth is the expectation over this many candidates on each side of the best; 0 takes them all.
    guided_upsampling: the network predicts how a pixel blends the 3 x 3 coarse depths around it. Edges stay sharp.
    relative_disparity: the refinement works on inverse depth as a fraction of the range, so that units do not matter.
    pixel_colour: the heads predict changes of a simple Gaussian, which has its pixel's colour, a size of 0.6 px, the
        camera's axes and a high opacity.
    monocular: sizes of the branch that sees one photograph at a time, or None.
    reads_points: whether the layers that refine the matches also read the votes of matched points (point_votes.py).
    """

    cnn_channels: tuple[int, int, int]
    feature_channels: int
    feed_forward_channels: int
    transformer_blocks: int
    attention_splits: int
    depth_candidates: int
    cost_channels: int
    cost_levels: int
    cost_attention: tuple[int, ...]
    depth_head_channels: int
    upsampled_channels: int
    guide_channels: int
    refine_channels: int
    refine_levels: int
    refine_attention: tuple[int, ...]
    refine_stride: int
    disparity_channels: int
    gaussian_channels: int
    sh_degree: int
    scale_min: float
    scale_max: float
    depth_convention: Literal["ray", "z"]
    patch_radius: int
    unit_features: bool
    peak_radius: int
    guided_upsampling: bool
    relative_disparity: bool
    pixel_colour: bool
    nearer_candidates: int
    monocular: MonocularConfig | None
    reads_points: bool

    @property
    def gaussian_parameters(self) -> int:
        """Numbers predicted for one Gaussian: 2 offset, 3 scale, 4 quaternion, 3 colours x (degree + 1)^2."""
        return 2 + 3 + 4 + 3 * (self.sh_degree + 1) ** 2

    @property
    def match_channels(self) -> int:
        """Input channels of the layers that refine the matches: volumes, features, monocular branch and votes."""
        d = self.depth_candidates
        windows = 2 * d + 1 if self.patch_radius else 0
        monocular = 0 if self.monocular is None else d + 2 + self.monocular.widths[-1]
        return d + self.feature_channels + windows + monocular + (d if self.reads_points else 0)


RE10K = PriorConfig(
    cnn_channels=(64, 96, 128),
    feature_channels=128,
    feed_forward_channels=1024,
    transformer_blocks=6,
    attention_splits=2,
    depth_candidates=128,
    cost_channels=128,
    cost_levels=3,
    cost_attention=(4,),
    depth_head_channels=256,
    upsampled_channels=128,
    guide_channels=32,
    refine_channels=32,
    refine_levels=5,
    refine_attention=(16,),
    refine_stride=1,
    disparity_channels=64,
    gaussian_channels=168,
    sh_degree=4,
    scale_min=0.5,
    scale_max=15.0,
    depth_convention="ray",
    patch_radius=0,
    unit_features=False,
    peak_radius=0,
    guided_upsampling=False,
    relative_disparity=False,
    pixel_colour=False,
    nearer_candidates=0,
    monocular=None,
    reads_points=False,
)

SMALL = PriorConfig(
    cnn_channels=(32, 48, 64),
    feature_channels=64,
    feed_forward_channels=256,
    transformer_blocks=2,
    attention_splits=4,
    depth_candidates=64,
    cost_channels=64,
    cost_levels=3,
    cost_attention=(4,),
    depth_head_channels=64,
    upsampled_channels=32,
    guide_channels=16,
    refine_channels=32,
    refine_levels=4,
    refine_attention=(8,),
    refine_stride=2,
    disparity_channels=32,
    gaussian_channels=48,
    sh_degree=0,
    scale_min=0.5,
    scale_max=15.0,
    depth_convention="z",
    patch_radius=1,
    unit_features=True,
    peak_radius=2,
    guided_upsampling=True,
    relative_disparity=True,
    pixel_colour=True,
    nearer_candidates=16,
    monocular=MonocularConfig(EncoderConfig(width=1.1, depth=1.2), widths=(192, 128, 96, 64)),
    reads_points=True,
)

SMALL_WITHOUT_POINTS = replace(SMALL, reads_points=False)
"""SMALL whose layers do not read the votes of points. The votes still change its logits.

Older weights have these sizes.
"""

SMALL_MATCHING = replace(SMALL_WITHOUT_POINTS, nearer_candidates=0, monocular=None)
"""SMALL without the monocular branch. The first weights have these sizes."""
