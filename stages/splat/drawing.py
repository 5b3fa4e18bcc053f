"""The renderer for the objects of stages/scene.py."""

from dataclasses import dataclass

import torch
from torch import Tensor

from stages.geometry import distance_to_cameras
from stages.scene import Cameras, Gaussians
from stages.splat.dispatch import rasterization

# Without gradients, cameras are rendered in groups of this many, so that long paths need no more memory.
GROUP = 4
NEAR = 0.01  # the near plane, as a share of the Gaussians' median distance to the nearest camera
SAMPLE = 16_384  # about the number of evenly chosen Gaussians from which that median is computed


@dataclass(frozen=True, eq=False)
class Drawing:
    """N rendered views.

    image: [N, 3, h, w], colour times alpha.  alpha: [N, h, w] in [0, 1].
    depth: [N, h, w], expected camera z, scene units, 0 where no Gaussian is.
    """

    image: Tensor
    alpha: Tensor
    depth: Tensor


def draw(gaussians: Gaussians, cameras: Cameras, near: float | None = None) -> Drawing:
    """Render Gaussians from every camera. Differentiable in the Gaussians and the poses.

    near: Gaussians whose camera z is smaller are left out, scene units. None stands for `near_plane` of these cameras.
    When a path is rendered in parts, give all parts the same number.
    """
    near = near_plane(gaussians.means, cameras) if near is None else near
    g = gaussians
    tensors = (g.means, g.scales, g.quats, g.opacities, g.sh, cameras.c2w)
    with_gradient = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    n = len(cameras)
    # Poses may be float64 and are inverted in that type. The kernel works in the type of the Gaussians.
    views, intrinsics = cameras.w2c.to(g.means), cameras.K.to(g.means)
    height, width = cameras.size
    parts = []
    step = n if with_gradient else GROUP
    for first in range(0, n, step):
        last = first + step
        camera = (views[first:last], intrinsics[first:last], width, height)
        parts.append(rasterization(g.means, g.quats, g.scales, g.opacities, g.sh, *camera, near_plane=near))
    image = torch.cat([p[0] for p in parts]).permute(0, 3, 1, 2)
    return Drawing(image[:, :3], torch.cat([p[1] for p in parts])[..., 0], image[:, 3])


@torch.no_grad()
def near_plane(means: Tensor, cameras: Cameras) -> float:
    """The near plane, scene units: a share of the Gaussians' median distance to the nearest camera. means: [G, 3].

    The unit of given cameras may be of any size, so the near plane follows the scene. 0 when there are no Gaussians.
    """
    sample = means[:: max(1, len(means) // SAMPLE)]
    return NEAR * float(distance_to_cameras(sample, cameras).median()) if len(means) else 0.0
