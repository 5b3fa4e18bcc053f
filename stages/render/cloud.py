"""One clean cloud of Gaussians for any viewer, at the density of the result.

A render blends two layers and looks their colours up, which a viewer of a PLY cannot. So here every pixel of the full
photographs becomes a Gaussian on the surface that its layer shows. Where both photographs show a place, the one that
shows it larger is taken, so that no surface is there twice. Between two surfaces there is nothing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.geometry import project, sampling_grid, unproject
from stages.render.surfaces import ONE_SURFACE, close, sized
from stages.scene import Cameras, Exposure, Gaussians, Views, colours_to_sh
from stages.sizes import resized_cameras, resized_images
from stages.splat import draw

MOST = 1_000_000  # largest number of pixels of both photographs together; above this, the density is lower
SIZE = 0.5  # standard deviation of a Gaussian, in pixels of its photograph; closed at twice the size of the result
OPACITY = 0.95  # of every Gaussian
SHARPER = 0.3  # how much colours differ more from their surroundings, because a viewer blurs them
COVERED = 0.5  # a pixel with at least this alpha shows a surface
EDGE = 2  # pixels this near to a jump in depth are moved to one of its two sides, px
SAME_SURFACE = 0.06  # both photographs show a point if its depth differs from the other's surface by less than this


@torch.no_grad()
def one_cloud(gaussians: Gaussians, views: Views, exposure: Exposure) -> Gaussians:
    """The scene of two photographs as one cloud, in the exposure half-way between theirs.

    gaussians: those of the prior, with `photograph`.  views: the two photographs, in full if they are known so.
    exposure: difference in exposure of the photographs.
    """
    full = views.full or views
    (h, w), scale = full.cameras.size, min(1.0, (MOST / (2 * full.images[0, 0].numel())) ** 0.5)
    size = (max(1, round(h * scale)), max(1, round(w * scale)))
    cameras = resized_cameras(views.cameras, size)
    images = _sharper(resized_images(exposure.half_way(full.images), size))
    depth = torch.stack([_depth(gaussians.of_photograph(k), views.cameras[[k]], cameras[[k]]) for k in (0, 1)])
    first, second = (_points(k, images, depth, cameras) for k in (0, 1))
    return first.joined(second)


def _depth(layer: Gaussians, photograph: Cameras, camera: Cameras) -> Tensor:
    """Camera z of the surface that a photograph's Gaussians show at its own camera, [h, w], 0 where there is none."""
    drawing = close(draw(sized(layer, photograph, camera), camera))
    depth = torch.where(drawing.alpha[0] > COVERED, drawing.depth[0], 0.0)
    # Rendered depth is a mean. At an edge it would lie between the two surfaces.
    side, known = 2 * EDGE + 1, depth > 0
    farthest = F.max_pool2d(depth[None], side, 1, EDGE)[0]
    nearest = -F.max_pool2d(torch.where(known, -depth, -torch.inf)[None], side, 1, EDGE)[0]
    one_side = torch.where(depth.square() < nearest * farthest, nearest, farthest)
    return torch.where(known & (farthest > ONE_SURFACE * nearest), one_side, depth)


def _points(k: int, images: Tensor, depth: Tensor, cameras: Cameras) -> Gaussians:
    """The Gaussians of photograph k: of all pixels but those that the other photograph shows larger.

    images: [2, 3, h, w].  depth: [2, h, w].
    """
    own, other = cameras[[k]].to(depth), cameras[[1 - k]].to(depth)
    known = depth[k] > 0
    means, pixel = unproject(depth[k], own.K[0], own.c2w[0])[known], (depth[k] / own.K[0, 0, 0])[known]
    pixels, z = project(means, other.K[0], other.c2w[0])
    grid = sampling_grid(pixels, cameras.size)[None, None]
    surface = F.grid_sample(depth[1 - k][None, None], grid, mode="nearest", align_corners=False)[0, 0, 0]
    shown = (z > 0) & (surface > 0) & ((z / surface.clamp_min(1e-9) - 1).abs() < SAME_SURFACE)
    ratio = z / other.K[0, 0, 0] / pixel  # below 1 where the other photograph shows the place larger
    kept = ~(shown & (ratio < (1.001 if k == 1 else 0.999)))  # where both are equal, the first photograph's stay
    colours = images[k].permute(1, 2, 0)[known][kept].to(depth)
    g = len(colours)
    return Gaussians(
        means[kept],
        (SIZE * pixel[kept])[:, None].expand(g, 3),
        means.new_tensor([1.0, 0, 0, 0]).expand(g, 4),
        means.new_full((g,), OPACITY),
        colours_to_sh(colours),
    )


def _sharper(images: Tensor) -> Tensor:
    """Images with more contrast between neighbours."""
    blurred = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return (images + SHARPER * (images - blurred)).clamp(0, 1)
