"""Renders Gaussians along a camera path. `render_parts` shows every step of a frame."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.errors import InputError
from stages.exposure import estimate_exposure
from stages.plain_border import SharedBorder, plain_border, scene_pixels, without_border
from stages.render.alignment import misalignment
from stages.render.holes import fill_holes
from stages.render.layers import blend_layers, nearness
from stages.render.light import difference_in_light
from stages.render.own_view import missing, share_of_missing, with_missing
from stages.render.photographs import Photograph
from stages.render.surfaces import close, sized
from stages.scene import Cameras, Clip, Exposure, Gaussians, Views
from stages.splat import Drawing, draw, near_plane

MOST, PIXELS = 4, 1 << 21  # largest number of frames rendered at a time, and of their pixels


@torch.no_grad()
def render(
    gaussians: Gaussians, cameras: Cameras, views: Views | None = None, exposure: Exposure | None = None
) -> Clip:
    """Render the scene at every camera: the parts of `render_parts` as one clip."""
    return Clip.joined(list(render_parts(gaussians, cameras, views=views, exposure=exposure)))


@torch.no_grad()
def render_parts(
    gaussians: Gaussians,
    cameras: Cameras,
    fps: float = 8.0,
    progress: Callable[[int, int], None] | None = None,
    views: Views | None = None,
    exposure: Exposure | None = None,
) -> Iterator[Clip]:
    """Render the scene at every camera, a few frames at a time.

    progress(done, total) is called as frames are finished.
    views: the two photographs. With them, frames get the plain border that both share, and Gaussians whose `photograph`
    is set are rendered as two blended layers with the colours of the photographs, which must then have depth.
    exposure: difference in exposure of the two photographs; None stands for `estimate_exposure`. With `Exposure.same()`
    the photographs keep their light too.

    Raises InputError if the depth is missing.
    """
    near, total = near_plane(gaussians.means, cameras), len(cameras)
    layers, shared_border = None, None
    if views is not None:
        border = plain_border(views.images)
        shared_border = SharedBorder.of(views, border, cameras.size)
    if views is not None and gaussians.photograph is not None:
        if views.depth is None:
            hint = "predict it with this program: videoscene prior"
            raise InputError("cannot render the layers of two photographs", "the photographs have no depth", hint)
        exposure = estimate_exposure(views) if exposure is None else exposure
        layers = layers_of(gaussians, views, exposure, border)
    count = max(1, min(MOST, PIXELS // math.prod(cameras.size)))
    for start in range(0, total, count):
        part = cameras[start : start + count]
        share = None if views is None else nearness(part, views.cameras)
        if share is None or layers is None:
            drawing = draw(gaussians, part, near=near)
        else:
            first, second = (layer.draw(part, share[:, k], near) for k, layer in enumerate(layers))
            drawing = blend_layers(first, second, share)
        frames = fill_holes(drawing.image, drawing.alpha).clamp(0, 1)
        if shared_border is not None and share is not None:
            frames = shared_border.laid_over(frames, share)
        if progress is not None:
            progress(min(start + count, total), total)
        yield Clip(frames, part, drawing.alpha.clamp(0, 1), fps, drawing.depth, exposure=exposure)


@dataclass(frozen=True, eq=False)
class Layer:
    """The Gaussians of one photograph. missing: those that show only in frames near its camera (own_view.py)."""

    gaussians: Gaussians
    missing: Gaussians
    photograph: Photograph

    def draw(self, cameras: Cameras, nearness: Tensor, near: float) -> Drawing:
        """The layer at N cameras. nearness: [N], of the photograph.  near: the near plane, scene units."""
        own, parts = self.photograph.views.cameras[[self.photograph.index]], []
        for n, share in enumerate(share_of_missing(nearness).tolist()):
            camera = cameras[[n]]
            parts.append(draw(sized(with_missing(self.gaussians, self.missing, share), own, camera), camera, near=near))
        whole = close(Drawing(*(torch.cat([getattr(p, name) for p in parts]) for name in ("image", "alpha", "depth"))))
        return self.photograph.sharpened(whole, cameras, nearness)


def layers_of(gaussians: Gaussians, views: Views, exposure: Exposure, border: Tensor) -> list[Layer]:
    """The layers of both photographs.

    gaussians: with `photograph`.  views: with depth.  border: [2, h, w], from `plain_border`.
    """
    usable, scene, layers = scene_pixels(border), without_border(views, border), []
    for k in (0, 1):
        own = gaussians.of_photograph(k)
        offset, light = misalignment(scene, k, exposure), difference_in_light(scene, k, exposure)
        photograph = Photograph(views, k, exposure, offset, light, usable[k])
        layers.append(Layer(own, missing(own, views, k, usable[k]), photograph))
    return layers
