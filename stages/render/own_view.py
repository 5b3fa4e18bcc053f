"""What a photograph shows at its own camera, and nearby.

Gaussians that the other photograph contradicts were removed from the scene (stages/prior/carve.py), and so were those
at the edge of the photograph. Seen from the photograph's own camera they are missing: the other photograph or a blur
shines through. There the photograph is the truth, so they are put back for frames that are near it.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.geometry import project, unproject
from stages.render.surfaces import SMALL
from stages.scene import Gaussians, Views, colours_to_sh

NEAR = 0.92  # missing Gaussians begin to show at this nearness, and show fully at 1, the photograph's own camera
OPACITY = 0.95  # opacity of missing Gaussians that show fully
EMPTY = 0.3  # a pixel's Gaussian is missing if more than this share of the 3 x 3 pixels around it has none


def missing(gaussians: Gaussians, views: Views, photograph: int, usable: Tensor) -> Gaussians:
    """Gaussians for the pixels of a photograph that have none, on the surface that its depth map shows.

    gaussians: those of this photograph.  views: the two, with depth.  usable: [h, w], the pixels of the photograph that
    show the scene.
    """
    assert views.depth is not None, "the caller has checked it"
    h, w = views.cameras.size
    K, c2w = views.cameras.K[photograph].to(gaussians.means), views.cameras.c2w[photograph].to(gaussians.means)
    pixels, z = project(gaussians.means, K, c2w)
    column, row = pixels.nan_to_num(-1).floor().long().unbind(1)
    inside = (z > 0) & (column >= 0) & (column < w) & (row >= 0) & (row < h)
    empty = torch.ones(h, w, device=z.device)
    empty[row[inside], column[inside]] = 0
    depth = views.depth[photograph].to(z)
    # Single pixels without a Gaussian are mostly those whose Gaussian lies in a neighbouring pixel.
    is_missing = (empty > 0) & (F.avg_pool2d(empty[None], 3, 1, 1)[0] > EMPTY) & (depth > 0) & usable.to(z.device)
    means, colours = unproject(depth, K, c2w)[is_missing], views.images[photograph].to(z).permute(1, 2, 0)[is_missing]
    g = len(means)
    return Gaussians(
        means,
        (SMALL * depth[is_missing] / K[0, 0])[:, None].expand(g, 3),
        means.new_tensor([1.0, 0, 0, 0]).expand(g, 4),
        means.new_full((g,), OPACITY),
        colours_to_sh(colours),
    )


def share_of_missing(nearness: Tensor) -> Tensor:
    """How opaque the missing Gaussians of a photograph are at cameras of this nearness, [N] in [0, 1]."""
    return ((nearness - NEAR) / (1 - NEAR)).clamp(0, 1)


def with_missing(layer: Gaussians, missing: Gaussians, share: float) -> Gaussians:
    """A photograph's Gaussians together with the missing ones, whose opacity is multiplied by `share`."""
    return layer.joined(replace(missing, opacities=missing.opacities * share)) if share > 0 and len(missing) else layer
