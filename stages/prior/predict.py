"""(1) Two views -> coarse Gaussians: the prior's network on one pair, over the depth range that suits the photographs.

The planes of a sweep are few: too long a range costs precision, and too short a range misses near things that only one
photograph shows. Matches alone do not decide it, because they lie on what both photographs see. So the network runs
with a few ranges, and the best result is kept: the Gaussians of each photograph must predict the other photograph.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.exposure import estimate_exposure
from stages.plain_border import plain_border, scene_pixels
from stages.prior.carve import visible_as_claimed
from stages.prior.closed import closed
from stages.prior.fuse import fuse
from stages.prior.guided import guided_by_photographs
from stages.prior.network import MULTIPLE, ImageFeatures, MVSplat
from stages.scene import Gaussians, Views
from stages.splat import draw, near_plane

# Width of the outermost strip of a photograph that gets no Gaussians, px. Its colours are often too dark or blurred,
# and would show as a line in the scene where the photograph ends.
BORDER = 1
# Factors on the near and on the far depth of the matches, one pair for each range that is tried; the first wins a tie.
RANGES = ((1.0, 1.0), (0.6, 1.0), (0.35, 1.0), (1.0, 0.5))
AS_GIVEN = RANGES[:1]  # only the range of the matches
LEAST_SPAN = 1.5  # smallest ratio of far to near
CLAMP = 0.25  # colour differences are clamped to this, because larger ones are occlusions or reflections


@dataclass(frozen=True)
class Prediction:
    """The result for two views, on the device of their images.

    gaussians: those of view 0, then those of view 1.  depth: [2, h, w], camera z of each view, scene units.
    near_far: [2, 2], the depth range that was swept in each view.
    """

    gaussians: Gaussians
    depth: Tensor
    near_far: Tensor


def predict(
    views: Views, near_far: Tensor, network: MVSplat, factors: tuple[tuple[float, float], ...] = RANGES
) -> Prediction:
    """Predict the scene of two views of any size, with closed surfaces and without what a photograph contradicts.

    near_far: [2, 2], camera z range of each view, from matches.  network: see `load_prior`.  The points of the views
    vote for their depths.  factors: on near and far, one pair for each range that is tried, at least one.
    """
    near, far = near_far.unbind(1)
    ranges = []
    for near_factor, far_factor in factors:
        nearest = near * near_factor
        ranges.append(torch.stack([nearest, (far * far_factor).maximum(LEAST_SPAN * nearest)], 1))
    features, usable = _features(views, network), scene_pixels(plain_border(views.images))  # the same for every range
    predictions = [predict_in_range(views, ranges[0], network, features, usable)]
    # Photographs of different exposure are hard to match. If the first prediction shows that the exposures differ,
    # bring both photographs to the one half-way between, and start again.
    exposure = estimate_exposure(replace(views, depth=predictions[0].depth))
    if exposure.noticeable:
        views = replace(views, images=exposure.half_way(views.images))
        features = _features(views, network)
        predictions = [predict_in_range(views, ranges[0], network, features, usable)]
    predictions += [predict_in_range(views, swept, network, features, usable) for swept in ranges[1:]]
    best = predictions[0]
    if len(predictions) > 1:
        best = min(predictions, key=lambda prediction: disagreement(prediction, views))
    gaussians, depth = guided_by_photographs(best.gaussians, best.depth, views, usable)
    scene = gaussians[visible_as_claimed(gaussians, depth, views)]
    scene = exposure.own_colours(scene) if exposure.noticeable else scene
    return replace(best, gaussians=closed(scene, views.cameras), depth=depth)


@torch.no_grad()
def predict_in_range(
    views: Views,
    near_far: Tensor,
    network: MVSplat,
    features: ImageFeatures | None = None,
    usable: Tensor | None = None,
) -> Prediction:
    """Predict the scene of two views of any size over one depth range.

    near_far: [2, 2], camera z range of each view.  features: result of the network's backbone, if it is known.
    usable: [2, h, w], the pixels that show the scene, if they are known.
    Images are extended by copies of their last row and column to sides that the network takes. The Gaussians of the
    extension, of a plain border and of the outermost pixels of a photograph are dropped.
    """
    h, w = views.cameras.size
    images = _extended(views, network)
    c2w, K = views.cameras.c2w.to(images)[None], views.cameras.K.to(images)[None]
    points = None if views.points is None else views.points.to(images)[None]
    out = network(images, c2w, K, near_far.to(images)[None], features, points)
    scene, depth = fuse(out.scene(0), out.confidence[0], views.cameras)
    photograph = torch.arange(2, dtype=torch.uint8, device=depth.device).repeat_interleave(depth[0].numel())
    scene = replace(scene, photograph=photograph)
    keep = torch.zeros(images.shape[1], *images.shape[-2:], dtype=torch.bool, device=images.device)
    keep[:, BORDER : h - BORDER, BORDER : w - BORDER] = True
    usable = scene_pixels(plain_border(views.images)) if usable is None else usable
    keep[:, :h, :w] &= usable.to(keep.device)
    keep = keep.flatten()
    home = views.images.device
    return Prediction(scene[keep].to(home), depth[:, :h, :w].to(home), near_far)


@torch.no_grad()
def _features(views: Views, network: MVSplat) -> ImageFeatures:
    """The result of the network's backbone for two views."""
    features: ImageFeatures = network.backbone(_extended(views, network))
    return features


def _extended(views: Views, network: MVSplat) -> Tensor:
    """The images on the network's device, extended to sides that it takes, [1, 2, 3, H, W]."""
    h, w = views.cameras.size
    images = views.images.to(next(network.parameters()).device, torch.float32)[None]
    return F.pad(images, (0, -w % MULTIPLE, 0, -h % MULTIPLE, 0, 0), mode="replicate")


@torch.no_grad()
def disagreement(prediction: Prediction, views: Views) -> float:
    """How badly the Gaussians of each photograph predict the other one.

    This is the mean clamped colour difference of the pixels that they cover, or 1 if they cover none.
    """
    errors = []
    for view in (0, 1):
        own = prediction.gaussians.of_photograph(view)
        camera = views.cameras[[1 - view]].to(own.means)
        drawing = draw(own, camera, near=near_plane(own.means, camera))
        alpha = drawing.alpha[0]
        colour = drawing.image[0] / alpha.clamp_min(1e-3)
        difference = (colour - views.images[1 - view].to(alpha)).abs().mean(0).clamp_max(CLAMP)
        errors.append(float((difference * alpha).sum() / alpha.sum()) if float(alpha.sum()) > 0 else 1.0)
    return sum(errors) / 2
