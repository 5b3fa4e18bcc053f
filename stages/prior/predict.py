"""(1) Two views -> coarse Gaussians: the prior's network on one pair.

With a monocular branch one sweep does: its planes go on beyond the nearest match, and the branch votes among them. Without one the planes
of a sweep are too few for both: a range that is too long costs precision, and one that is too short misses what only one photograph shows
close by (walking forward, the foreground of the first). There the network runs over several ranges, and the one whose Gaussians best
predict each photograph from the other is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.black_border import black_border
from stages.prior.carve import visible_as_claimed
from stages.prior.fuse import fuse
from stages.prior.network import MULTIPLE, Features, MVSplat
from stages.scene import Gaussians, Views
from stages.splat import draw, near_plane

# Photographs and video frames often end in a dark or mixed row of pixels, which would stand as a seam in the middle of the scene.
BORDER = 1
BLACK_BORDER = 2  # px around a black border that are mixed with it
NEAR_SCALES = (1.0, 1.4, 1.15, 0.8, 0.55, 0.35)  # of the nearest depth that matches show; a tie goes to the first
FAR_SCALES = (0.5, 2.0)  # of the farthest depth, tried with the best nearest one
LEAST_SPAN = 1.5  # far over near
CLAMP = 0.25  # of a colour difference: beyond it is an occlusion or a reflection, and how far beyond tells nothing


@dataclass(frozen=True)
class Prediction:
    """gaussians: in the world of the cameras, view by view, some left out.  depth: [2, h, w], camera z of each view, scene units.

    near_far: [2, 2], the range that was swept.
    """

    gaussians: Gaussians
    depth: Tensor
    near_far: Tensor


def predict(views: Views, near_far: Tensor, network: MVSplat) -> Prediction:
    """Predict the scene of two views of any size, less what a photograph contradicts.

    near_far: [2, 2], camera z range of each view, from matches.  network: see `load_prior`.
    """
    searched = network.config.monocular is None
    return carve(_search_range(views, near_far, network) if searched else predict_in_range(views, near_far, network), views)


def _search_range(views: Views, near_far: Tensor, network: MVSplat) -> Prediction:
    """The prediction with the least `disagreement`: the nearest depth is varied, then the farthest."""
    near, far = near_far.unbind(1)
    with torch.no_grad():
        features = network.backbone(_extended(views, network))  # the same for every range
    candidates: dict[tuple[float, float], tuple[float, Prediction]] = {}

    def best(ranges: list[tuple[float, float]]) -> tuple[float, float]:
        for near_scale, far_scale in ranges:
            nearest = near * near_scale
            swept = torch.stack([nearest, (far * far_scale).maximum(LEAST_SPAN * nearest)], 1)
            prediction = predict_in_range(views, swept, network, features)
            candidates[near_scale, far_scale] = disagreement(prediction, views), prediction
        return min(candidates, key=lambda scales: candidates[scales][0])

    near_scale, _ = best([(scale, 1.0) for scale in NEAR_SCALES])
    return candidates[best([(near_scale, scale) for scale in FAR_SCALES])][1]


def carve(prediction: Prediction, views: Views) -> Prediction:
    """A prediction less the Gaussians that the other photograph contradicts."""
    return replace(prediction, gaussians=prediction.gaussians[visible_as_claimed(prediction.gaussians, prediction.depth, views)])


@torch.no_grad()
def predict_in_range(views: Views, near_far: Tensor, network: MVSplat, features: Features | None = None) -> Prediction:
    """Predict the scene of two views of any size over one depth range.

    near_far: [2, 2], camera z range of each view.  features: the backbone's, of the extended images; computed when not given.
    Sides that the network cannot take are extended by their last row and column. The Gaussians of the extension, of a black border
    and of the outermost pixels of a photograph are dropped.
    """
    h, w = views.cameras.size
    images = _extended(views, network)
    c2w, K = views.cameras.c2w.to(images)[None], views.cameras.K.to(images)[None]
    out = network(images, c2w, K, near_far.to(images)[None], features)
    scene, depth = fuse(out.scene(0), out.confidence[0], views.cameras)
    scene = replace(scene, photograph=torch.arange(2, dtype=torch.uint8, device=depth.device).repeat_interleave(depth[0].numel()))
    kept = torch.zeros(images.shape[1], *images.shape[-2:], dtype=torch.bool, device=images.device)
    kept[:, BORDER : h - BORDER, BORDER : w - BORDER] = True
    black = black_border(views.images)[None].float()
    kept[:, :h, :w] &= (F.max_pool2d(black, 2 * BLACK_BORDER + 1, 1, BLACK_BORDER) == 0).to(kept.device)
    kept = kept.flatten()
    return Prediction(scene[kept].to("cpu"), depth[:, :h, :w].cpu(), near_far)


def _extended(views: Views, network: MVSplat) -> Tensor:
    """The images on the network's device with sides that it takes, [1, 2, 3, H, W]."""
    h, w = views.cameras.size
    images = views.images.to(next(network.parameters()).device, torch.float32)[None]
    return F.pad(images, (0, -w % MULTIPLE, 0, -h % MULTIPLE, 0, 0), mode="replicate")


@torch.no_grad()
def disagreement(prediction: Prediction, views: Views) -> float:
    """How badly the Gaussians of each photograph predict the other one: mean colour difference, clamped, where they cover it.

    1 when those of a photograph cover nothing of the other.
    """
    errors = []
    for view in (0, 1):
        own = prediction.gaussians.of_photograph(view)
        camera = views.cameras[[1 - view]].to(own.means)
        drawing = draw(own, camera, near=near_plane(own.means, camera))
        alpha = drawing.alpha[0]
        difference = (drawing.image[0] / alpha.clamp_min(1e-3) - views.images[1 - view].to(alpha)).abs().mean(0).clamp_max(CLAMP)
        errors.append(float((difference * alpha).sum() / alpha.sum()) if float(alpha.sum()) > 0 else 1.0)
    return sum(errors) / 2
