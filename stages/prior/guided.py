"""The depth of each photograph, guided by the photograph: smooth where it is smooth, with its edges.

Depth that the other photograph confirms stays. The Gaussians move along their rays with the depth of their pixels.
"""

from dataclasses import replace

import torch
from torch import Tensor

from stages.geometry import project
from stages.overlap import other_photograph
from stages.prior.edges import sharp_depth
from stages.prior.smooth import smooth_depth
from stages.scene import Gaussians, Views

NO_COLOUR = 9.0  # stands for the colour of pixels that do not show the scene; far from every colour in [0, 1]
CONFIRMED = 0.02  # the other photograph confirms a depth that differs from its own surface by less than this share


@torch.no_grad()
def guided_by_photographs(
    gaussians: Gaussians, depth: Tensor, views: Views, usable: Tensor
) -> tuple[Gaussians, Tensor]:
    """Move Gaussians along their rays to surfaces that suit the photographs. Sizes grow with depth.

    gaussians: at most one per pixel of each photograph, within its pixel, with `photograph` set.
    depth: [2, h, w], camera z of each view, scene units.  views: the two photographs.
    usable: [2, h, w], boolean, the pixels that show the scene. Their depth is not mixed with that of a plain border.
    Returns the Gaussians in the same order, and the new depth [2, h, w].
    """
    images, guided = views.images.to(depth).where(usable.to(depth.device)[:, None], NO_COLOUR), depth
    for guide in (smooth_depth, sharp_depth):
        known = replace(views, depth=guided)
        unconfirmed = [other_photograph(known, view)[1] >= CONFIRMED for view in (0, 1)]
        guided = torch.stack([guide(*maps) for maps in zip(guided, images, unconfirmed, strict=True)])
    return _moved(gaussians, guided / depth, views), guided


def _moved(gaussians: Gaussians, factor: Tensor, views: Views) -> Gaussians:
    """Gaussians whose distance from their camera, and size, is multiplied by the factor of their pixel, [2, h, w]."""
    assert gaussians.photograph is not None, "the prior sets photograph"
    (h, w), K, c2w = views.cameras.size, views.cameras.K.to(factor), views.cameras.c2w.to(factor)
    own_factor = torch.ones_like(gaussians.means[:, :1])
    for view in (0, 1):
        own = gaussians.photograph == view
        pixels, _ = project(gaussians.means[own], K[view], c2w[view])
        column, row = (pixels[:, k].floor().long().clamp(0, side - 1) for k, side in ((0, w), (1, h)))
        own_factor[own, 0] = factor[view, row, column]
    centre = c2w[:, :3, 3][gaussians.photograph.long()]
    means = centre + (gaussians.means - centre) * own_factor
    return replace(gaussians, means=means, scales=gaussians.scales * own_factor)
