"""Blends the two layers of a frame: what the Gaussians of the first and of the second photograph show.

Where both photographs saw a surface, each has put Gaussians on it, at slightly different depths. Rendered together,
which of the two is in front changes from pixel to pixel, and the image is blurred. So the Gaussians of each photograph
are rendered as a layer of their own, and the two layers are blended. The photograph whose camera is nearer counts more,
as in unstructured lumigraphs (Buehler et al. 2001, section 4), and a layer that lies far behind the other one counts
less.
"""

import torch
from torch import Tensor

from stages.render import kernel
from stages.scene import Cameras
from stages.splat import Drawing

# The weight of a layer falls to 1/e where its depth is (1 + BEHIND) times that of the nearer surface. It falls so
# slowly because the nearer surface may be the wrong one.
BEHIND = 1.0
SURFACE_ALPHA = 0.3  # a layer has a surface at a pixel where its alpha is above this


def nearness(cameras: Cameras, photographs: Cameras) -> Tensor:
    """Weight of each of two photographs for each of N cameras, [N, 2]: larger for the nearer one. Rows sum to 1."""
    # Not torch.cdist, which rounds small distances.
    distance = (cameras.c2w[:, None, :3, 3] - photographs.c2w[:, :3, 3].to(cameras.c2w)).norm(dim=-1)
    return 1 - distance / distance.sum(1, keepdim=True).clamp_min(1e-12)


def blend_layers(first: Drawing, second: Drawing, nearness: Tensor) -> Drawing:
    """Blend the renders of two layers: opaque where either layer is, with the depth of the nearer surface.

    first, second: images are colour times alpha, as `draw` returns them.  nearness: [N, 2], from `nearness`.
    """
    if kernel.takes(first.image) and kernel.takes(second.image):
        return kernel.blend(first, second, nearness, SURFACE_ALPHA, BEHIND)
    return blend_in_torch(first, second, nearness)


def blend_in_torch(first: Drawing, second: Drawing, nearness: Tensor) -> Drawing:
    """The reference of `blend_layers`, with gradients."""
    # Alpha and depth of both layers are [N, 2, h, w], colour is [N, 2, 3, h, w].
    alpha, depth = torch.stack([first.alpha, second.alpha], 1), torch.stack([first.depth, second.depth], 1)
    colour = torch.stack([first.image, second.image], 1) / alpha.clamp_min(1e-3)[:, :, None]
    surface = torch.where(alpha > SURFACE_ALPHA, depth, torch.inf).amin(1, keepdim=True)
    surface = surface.minimum(depth.amax(1, keepdim=True))  # the farther layer's depth if neither has a surface
    behind = (depth / surface.clamp_min(1e-12) - 1).clamp_min(0)
    # The 1e-6 keeps a weight above zero, so that a layer shows where the other one has nothing.
    weight = alpha * ((nearness.to(alpha)[..., None, None] * torch.exp(-((behind / BEHIND) ** 2))) + 1e-6)
    weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-12)
    either = 1 - (1 - alpha).prod(1)
    return Drawing((weight[:, :, None] * colour).sum(1) * either[:, None], either, surface[:, 0])
