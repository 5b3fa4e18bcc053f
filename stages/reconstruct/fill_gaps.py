"""New Gaussians where a frame shows something and the scene has no Gaussian."""

import math

import torch
from torch import Tensor

from stages.reconstruct.targets import Targets
from stages.render import fill_holes
from stages.scene import Cameras, Gaussians, colours_to_sh
from stages.splat import draw, near_plane

HOLE = 0.5  # a pixel whose coverage is below this gets a Gaussian of its own
VIEWS = 5  # number of targets whose holes are filled, evenly spaced
SIGMA = 0.6  # standard deviation of a new Gaussian, pixels
OPACITY = 0.5  # opacity of a new Gaussian; it is half transparent because its depth is a guess


@torch.no_grad()
def fill(gaussians: Gaussians, targets: Targets, budget: int) -> Gaussians:
    """Add a Gaussian for each empty pixel of some targets, at the depth of its surroundings.

    budget: the largest number of Gaussians afterwards.
    """
    near = near_plane(gaussians.means, targets.cameras)
    views = torch.linspace(0, targets.counted - 1, min(VIEWS, targets.counted)).round().long().unique().tolist()
    for view in views:
        camera = targets.cameras[[view]]
        drawing = draw(gaussians, camera, near=near)
        premultiplied = (drawing.depth * drawing.alpha)[:, None].expand(-1, 3, -1, -1)
        depth = fill_holes(premultiplied, drawing.alpha)[0, 0]
        rows, columns = torch.nonzero((drawing.alpha[0] < HOLE) & (depth > 0), as_tuple=True)
        room = budget - len(gaussians)
        if len(rows) > room:  # keep every stride-th pixel
            stride = math.ceil(len(rows) / max(room, 1))
            rows, columns = rows[::stride][:room], columns[::stride][:room]
        if len(rows):
            gaussians = gaussians.joined(_at_pixels(targets.images[view], depth, camera, rows, columns, gaussians))
    return gaussians


def _at_pixels(
    image: Tensor, depth: Tensor, camera: Cameras, rows: Tensor, columns: Tensor, like: Gaussians
) -> Gaussians:
    """Round Gaussians at the pixels rows, columns [P] of one image [3, h, w] with a depth map [h, w]."""
    K, c2w = camera.K[0].to(like.means), camera.c2w[0].to(like.means)
    z = depth[rows, columns]
    pixel = torch.stack([columns + 0.5, rows + 0.5, torch.ones_like(z)], -1).to(z)
    means = (pixel @ torch.linalg.inv(K).T * z[:, None]) @ c2w[:3, :3].T + c2w[:3, 3]
    scales = (SIGMA * z / K[0, 0])[:, None].expand(-1, 3)
    quats = z.new_tensor([1.0, 0, 0, 0]).expand(len(z), 4)
    sh = colours_to_sh(image[:, rows, columns].T)
    return Gaussians(means, scales, quats, torch.full_like(z, OPACITY), sh)
