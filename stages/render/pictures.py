"""What three cameras show of a scene, with depth: the middle of the path between two photographs, and the photographs.

The middle is as far as possible from both photographs, so the cloud of cloud.py starts from what is seen there. There
both photographs are blended and their misalignment is evened out, as in a frame of the video.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.geometry import unproject
from stages.plain_border import plain_border
from stages.render.frames import Layer, layers_of
from stages.render.layers import blend_layers, nearness
from stages.render.surfaces import ONE_SURFACE, close, sized
from stages.scene import Cameras, Exposure, Gaussians, Views
from stages.sizes import resized_cameras, resized_images
from stages.splat import draw, near_plane
from stages.trajectory import along

COVERED = 0.5  # a pixel with at least this alpha shows a surface
EDGE = 2  # a pixel this near to a jump in depth gets the depth of one of its two sides, px
SAME_DEPTH = 0.06  # two depths belong to one surface if they differ by less than this share


@dataclass(frozen=True, eq=False)
class Picture:
    """image: [3, h, w], sRGB.  depth: [h, w], camera z in scene units, 0 where no surface is known.  camera: one."""

    image: Tensor
    depth: Tensor
    camera: Cameras

    @property
    def points(self) -> Tensor:
        """The points in the world that the pixels with a depth show, [P, 3]."""
        camera = self.camera.to(self.depth)
        return unproject(self.depth, camera.K[0], camera.c2w[0])[self.depth > 0]

    @property
    def pixel(self) -> Tensor:
        """The width of a pixel at each of the points, [P], scene units."""
        return self.depth[self.depth > 0] / self.camera.K[0, 0, 0].to(self.depth)

    @property
    def colours(self) -> Tensor:
        """The colours of the points, [P, 3]."""
        return self.image.permute(1, 2, 0)[self.depth > 0].to(self.depth)

    def only(self, which: Tensor) -> "Picture":
        """The picture with the depth of some of its points, and none of the others. which: [P], boolean."""
        depth = torch.zeros_like(self.depth)
        known = self.depth > 0
        depth[known] = self.depth[known] * which
        return replace(self, depth=depth)


def middle_and_photographs(
    gaussians: Gaussians, views: Views, exposure: Exposure, size: tuple[int, int]
) -> tuple[Picture, Picture, Picture]:
    """The three pictures, the middle first, in a size (h, w) and in the exposure half-way between the photographs.

    gaussians: those of the prior, with `photograph`.  views: the photographs, with depth.
    """
    full = views.full or views
    cameras = resized_cameras(views.cameras, size).to(gaussians.means.dtype)
    views = replace(views, full=Views(resized_images(full.images, size), cameras))
    middle = along("interp", cameras, gaussians.means, 3)[[1]]
    layers = layers_of(gaussians, views, exposure, plain_border(views.images))
    first, second = (_photograph(layer) for layer in layers)
    return _middle(layers, middle, near_plane(gaussians.means, middle)), first, second


def _photograph(layer: Layer) -> Picture:
    """The photograph of a layer, with the surface that its own Gaussians show."""
    own, k = layer.photograph, layer.photograph.index
    assert own.views.full is not None, "the caller has set it"
    camera = own.views.full.cameras[[k]]
    drawing = close(draw(sized(layer.gaussians, own.views.cameras[[k]], camera), camera))
    depth = torch.where(drawing.alpha[0] > COVERED, drawing.depth[0], 0.0)
    light = F.interpolate(own.light[None], camera.size, mode="bilinear", align_corners=False)[0]
    image = own.exposure.half_way(own.views.full.images)[k] + 0.5 * light.to(own.views.full.images)
    return Picture(image.clamp(0, 1), _on_one_side(depth), camera)


def _middle(layers: list[Layer], camera: Cameras, near: float) -> Picture:
    """What a frame of the video shows at a camera. near: the near plane, scene units."""
    share = nearness(camera, layers[0].photograph.views.cameras)
    first, second = (layer.draw(camera, share[:, k], near) for k, layer in enumerate(layers))
    both = blend_layers(first, second, share)
    # The nearer of two depths of one surface would be a biased estimate of it.
    one_surface = (first.depth / second.depth.clamp_min(1e-9) - 1).abs() < SAME_DEPTH
    one_surface &= (first.alpha > COVERED) & (second.alpha > COVERED)
    depth = torch.where(one_surface, (first.depth + second.depth) / 2, both.depth)
    depth = torch.where(both.alpha > COVERED, depth, 0.0)[0]
    return Picture((both.image[0] / both.alpha[0].clamp_min(1e-3)).clamp(0, 1), _on_one_side(depth), camera)


def _on_one_side(depth: Tensor) -> Tensor:
    """A depth map [h, w] without depths between two surfaces: rendered depth is a mean, also at an edge."""
    side, known = 2 * EDGE + 1, depth > 0
    farthest = F.max_pool2d(depth[None], side, 1, EDGE)[0]
    nearest = -F.max_pool2d(torch.where(known, -depth, -torch.inf)[None], side, 1, EDGE)[0]
    one_side = torch.where(depth.square() < nearest * farthest, nearest, farthest)
    return torch.where(known & (farthest > ONE_SURFACE * nearest), one_side, depth)
