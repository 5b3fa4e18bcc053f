"""Sharp colours for a layer, looked up in the photograph that its Gaussians come from.

Gaussians that close a surface blur it. Their depth tells where each pixel of a frame lies in the photograph, and the
sharp colour is taken from there (depth-image-based rendering, McMillan 1997). Where the depth is wrong, as at edges,
that colour is wrong too. It then differs from the blurred one, and the blurred one is kept.

A photograph comes in two sizes. The "full photograph" has the size of the result, and colours are taken from it. The
"small image" has the size in which the networks work. So have the misalignment, the light and the usable pixels.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.geometry import reproject, sampling_grid
from stages.render import kernel
from stages.scene import Cameras, Exposure, Views
from stages.splat import Drawing

# The trust in a photograph's colour falls to 1/e where it differs by this much from the blurred one. This holds for a
# camera half-way between the two photographs. Nearer the photograph's own camera, where every colour is right, the
# colours may differ by more.
TYPICAL_DIFFERENCE = 0.1
# Nothing is taken from a photograph at a position whose x or y is farther than this from 0, px of the small image.
FARTHEST = 1e6
WINDOW = 3  # side of the square over which differences are averaged, px of the small image


@dataclass(frozen=True, eq=False)
class Photograph:
    """What a layer looks up: one of two photographs.

    views: the two.  index: 0 or 1.  exposure: their difference, see `Exposure.bring`.
    offset: [2, h, w], the misalignment of the photograph's pixels, of which a camera gets the share 1 - nearness.
    light: [3, h, w], the difference in light, of which a camera gets the same share.
    usable: [h, w], the pixels of the photograph that show the scene.
    """

    views: Views
    index: int
    exposure: Exposure
    offset: Tensor
    light: Tensor
    usable: Tensor

    def sharpened(self, drawing: Drawing, cameras: Cameras, nearness: Tensor) -> Drawing:
        """The layer with the colours of the photograph, in the exposure of each camera.

        drawing: the layer at N cameras.  nearness: [N], of the photograph.
        """
        if not kernel.takes(drawing.image):
            return self.sharpened_in_torch(drawing, cameras, nearness)
        scale, window = self._windows(cameras)
        own = self.views.cameras[[self.index]]
        gains, offsets = self.exposure.part(self.index, 1 - nearness)
        images = [
            kernel.look_up(
                Drawing(drawing.image[n], drawing.alpha[n], drawing.depth[n]),
                to_photograph(cameras[[n]], own),
                self._packed[0],
                self._packed[1:],
                1 - float(nearness[n]),
                float(_typical(nearness[n])),
                (scale, window),
                (gains[n], offsets[n]),
            )
            for n in range(len(cameras))
        ]
        return Drawing(torch.stack(images), drawing.alpha, drawing.depth)

    @torch.no_grad()
    def sharpened_in_torch(self, drawing: Drawing, cameras: Cameras, nearness: Tensor) -> Drawing:
        """The reference of `sharpened`."""
        n, (h, w) = len(cameras), cameras.size
        alpha, image = drawing.alpha, drawing.image
        nearness = nearness.to(alpha)
        own, here = self.views.cameras[[self.index]].to(alpha), cameras.to(alpha)
        pixels, z = reproject(drawing.depth.clamp_min(1e-9), here.K, here.c2w, own.K[0], own.c2w[0])
        grid = sampling_grid(pixels, own.size).view(1, n * h, w, 2)
        # Move the photograph's content by a part of its misalignment.
        maps = look_up(torch.cat([self._maps, self.light]).to(alpha), grid, "bilinear").view(6, n, h, w)
        moved, light = maps[:2].permute(1, 2, 3, 0), maps[3:].transpose(0, 1)
        pixels = pixels - (1 - nearness)[:, None, None, None] * moved
        grid = sampling_grid(pixels, own.size).view(1, n * h, w, 2)
        colours = look_up(self._image.to(alpha), grid, "bicubic").clamp(0, 1)
        colours = colours.view(3, n, h, w).transpose(0, 1)
        # Keep the blurred colour where the photograph's differs from it. Detail that only the full photograph has is
        # no difference, so both are compared in the small size.
        scale, window = self._windows(cameras)
        blurred = image / alpha.clamp_min(1e-3)[:, None]
        apart = F.avg_pool2d(colours - blurred, scale, 1, scale // 2, count_include_pad=False)
        difference = F.avg_pool2d(apart.abs().mean(1, keepdim=True), window, 1, window // 2)
        typical = _typical(nearness)
        shown = ((grid.abs() < 1).all(-1).view(n, h, w) & (z > 0) & (drawing.depth > 0))[:, None]
        trust = shown * maps[2][:, None].clamp(0, 1) * torch.exp(-((difference / typical[:, None, None, None]) ** 2))
        mixed = torch.lerp(blurred, colours, trust) * (alpha / alpha.clamp_min(1e-6))[:, None]
        known = ((z > 0) & (pixels.abs() < FARTHEST).all(-1).view(n, h, w))[:, None]
        added = (1 - nearness)[:, None, None, None] * light.where(known, 0)
        mixed = self.exposure.bring(mixed, self.index, 1 - nearness) + added
        return Drawing(mixed * alpha[:, None], alpha, drawing.depth)

    def _windows(self, cameras: Cameras) -> tuple[int, int]:
        """The side of a pixel of the small image and that of the window of differences, px of a frame; both odd."""
        scale = max(1, 2 * round((cameras.size[0] / self.views.cameras.size[0] - 1) / 2) + 1)
        return scale, WINDOW * scale

    @property
    def _image(self) -> Tensor:
        return (self.views.full or self.views).images[self.index]

    @property
    def _maps(self) -> Tensor:
        return torch.cat([self.offset, self.usable[None].to(self.offset)])

    @cached_property
    def _packed(self) -> tuple[Tensor, Tensor, Tensor]:
        """The photograph, the maps and the light as the kernel reads them."""
        return kernel.packed(self._image), kernel.packed(self._maps), kernel.packed(self.light)


def _typical(nearness: Tensor) -> Tensor:
    """The difference at which trust has fallen to 1/e, for cameras of this nearness."""
    return TYPICAL_DIFFERENCE * (0.5 / (1 - nearness).clamp_min(1e-3)).sqrt()


def to_photograph(camera: Cameras, photograph: Cameras) -> Tensor:
    """The matrix [3, 4] from (x z, y z, z, 1) of a pixel (x, y) with depth z to the photograph's (x' z', y' z', z')."""
    here, there = camera.to(torch.float64), photograph.to(torch.float64)
    turned = there.K[0] @ there.c2w[0, :3, :3].T
    way = turned @ (here.c2w[0, :3, 3] - there.c2w[0, :3, 3])
    return torch.cat([turned @ here.c2w[0, :3, :3] @ torch.linalg.inv(here.K[0]), way[:, None]], 1)


def look_up(maps: Tensor, grid: Tensor, mode: str) -> Tensor:
    """Maps [C, h, w] at the positions of a grid [1, H, W, 2], [1, C, H, W]."""
    return F.grid_sample(maps[None], grid, mode=mode, padding_mode="border", align_corners=False)
