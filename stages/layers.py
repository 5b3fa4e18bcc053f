"""The Gaussians of two photographs as one picture: each photograph's are drawn alone, and the pictures blended.

Both photographs bring a sample of every surface that they share. Drawn as one cloud, one lies before the other by chance, pixel by
pixel, and the picture is blurred. Drawn apart, the nearer photograph counts for more, as in unstructured lumigraphs (Buehler et al.
2001, section 4), and what lies far behind the surface of the other one for less.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stages.scene import Cameras
from stages.splat import Drawing

BEHIND = 1.0  # relative depth behind the other surface, at which the weight has fallen to 1/e: a hint, as the nearer one may be wrong
DRAWN = 0.3  # alpha from which a layer has a surface


def nearness(cameras: Cameras, photographs: Cameras) -> Tensor:
    """How near cameras are to the one of two photographs rather than to the other, [N, 2], sums 1."""
    distance = (cameras.c2w[:, None, :3, 3] - photographs.c2w[:, :3, 3].to(cameras.c2w)).norm(dim=-1)  # cdist rounds small ones
    return 1 - distance / distance.sum(1, keepdim=True).clamp_min(1e-12)


def blend_layers(first: Drawing, second: Drawing, nearness: Tensor) -> Drawing:
    """One picture of two: opaque where either is, as deep as the nearer surface. nearness: [N, 2].

    Images are weighted by alpha, as they come from `draw`.
    """
    alpha, depth = torch.stack([first.alpha, second.alpha], 1), torch.stack([first.depth, second.depth], 1)  # [N, 2, h, w]
    colour = torch.stack([first.image, second.image], 1) / alpha.clamp_min(1e-3)[:, :, None]
    surface = torch.where(alpha > DRAWN, depth, torch.inf).amin(1, keepdim=True).minimum(depth.amax(1, keepdim=True))
    behind = (depth / surface.clamp_min(1e-12) - 1).clamp_min(0)
    # Never zero where something is drawn, so that it is shown where the other layer has nothing.
    weight = alpha * ((nearness.to(alpha)[..., None, None] * torch.exp(-((behind / BEHIND) ** 2))) + 1e-6)
    weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-12)
    either = 1 - (1 - alpha).prod(1)
    return Drawing((weight[:, :, None] * colour).sum(1) * either[:, None], either, surface[:, 0])
