"""Makes the Gaussians of each photograph a closed surface.

The network is trained on frames of one size, where the renderer's blur of half a pixel closes the gaps between small
Gaussians. In a larger frame, or from nearer, the gaps open, and the Gaussians are dots on black. So a Gaussian gets at
least the size that covers its pixel's part of the surface, and more opacity.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from stages.geometry import depth_of
from stages.scene import Cameras, Gaussians

SIZE = 0.6  # smallest standard deviation, in pixels of the photograph; neighbours are one pixel apart
ODDS = 2.7  # factor on opacity / (1 - opacity)


def closed(gaussians: Gaussians, cameras: Cameras) -> Gaussians:
    """Gaussians that cover the surface from any distance.

    gaussians: Gaussians that have `photograph`.  cameras: the cameras of the two photographs.
    """
    assert gaussians.photograph is not None, "the prior sets photograph"
    which, means = gaussians.photograph.long(), gaussians.means
    depth = torch.stack([depth_of(means, cameras.c2w[k].to(means)) for k in (0, 1)], 1)
    pixel = depth.gather(1, which[:, None]) / cameras.K[:, 0, 0].to(means)[which, None]
    odds = ODDS * gaussians.opacities / (1 - gaussians.opacities).clamp_min(1e-6)
    return replace(gaussians, scales=gaussians.scales.maximum(SIZE * pixel), opacities=odds / (1 + odds))
