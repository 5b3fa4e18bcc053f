"""(1) Two views -> coarse Gaussians: the prior's network on one pair."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.prior.network import MULTIPLE, MVSplat
from stages.scene import Gaussians, Views

# Photographs and video frames often end in a dark or mixed row of pixels, which would stand as a seam in the middle of the scene.
BORDER = 1


@dataclass(frozen=True)
class Prediction:
    """gaussians: in the world of the cameras, view by view, rows first.  depth: [2, h, w], camera z of each view, scene units."""

    gaussians: Gaussians
    depth: Tensor


@torch.no_grad()
def predict(views: Views, near_far: Tensor, network: MVSplat) -> Prediction:
    """Predict the scene of two views of any size.

    near_far: [2, 2], camera z range a view.  network: see `load_prior`.  Sides that the network cannot take are extended by their
    last row and column. The Gaussians of the extension, and of the outermost pixels of a photograph, are dropped.
    """
    h, w = views.cameras.size
    parameter = next(network.parameters())
    images, c2w, K = (x.to(parameter.device, torch.float32)[None] for x in (views.images, views.cameras.c2w, views.cameras.K))
    right, bottom = -w % MULTIPLE, -h % MULTIPLE
    images = F.pad(images, (0, right, 0, bottom, 0, 0), mode="replicate")
    out = network(images, c2w, K, near_far.to(images)[None])
    scene, depth = out.scene(0), out.depth[0, :, :h, :w]
    kept = torch.zeros(images.shape[1], h + bottom, w + right, dtype=torch.bool, device=images.device)
    kept[:, BORDER : h - BORDER, BORDER : w - BORDER] = True
    kept = kept.flatten()
    scene = Gaussians(scene.means[kept], scene.scales[kept], scene.quats[kept], scene.opacities[kept], scene.sh[kept])
    return Prediction(scene.to("cpu"), depth.cpu())
