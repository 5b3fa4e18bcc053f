"""One clean cloud of Gaussians for any viewer, as dense as the result, but with at most 500,000 pixels a picture.

A render blends two layers and looks their colours up, which a viewer of a PLY cannot. So here every pixel of three
pictures becomes a Gaussian (pictures.py). One picture is a frame half-way along the path, here called the middle. The
others are the two photographs. Each place is taken from one picture alone: from the middle, or from a photograph if the
middle does not show the place, or shows it much smaller. Points that hang in front of the surfaces that another picture
shows are left out. Last, the colours are fitted so that the cloud, drawn at the three cameras, gives the three
pictures.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.geometry import project, sampling_grid
from stages.render.pictures import SAME_DEPTH, Picture, middle_and_photographs
from stages.scene import Cameras, Exposure, Gaussians, Views, colours_to_sh
from stages.sizes import cloud_size
from stages.splat import draw, near_plane

# Standard deviation of a Gaussian, in pixels of its picture. A drawing of twice the picture's size still has no gaps.
SIZE = 0.55
OPACITY = 0.95  # opacity of every Gaussian
LARGER = 1.3  # a photograph's Gaussians replace those of the middle where it shows a place this many times larger
# A photograph contradicts a point whose colour differs by more than this from each of the 3 x 3 pixels that would show
# the point. The difference is the mean over the channels, in [0, 1].
OTHER_COLOUR = 0.1
ITERATIONS = 3  # number of iterations of the fit of colours
VISIBLE = 1.03  # a Gaussian is visible if its depth is less than this many times the drawn depth
COLOURS = (-0.2, 1.2)  # bounds of the fitted colours; beyond [0, 1] they undo blur beside edges


@torch.no_grad()
def one_cloud(gaussians: Gaussians, views: Views, exposure: Exposure) -> Gaussians:
    """The scene of two photographs as one cloud, in the exposure half-way between theirs.

    gaussians: those of the prior, with `photograph` set.  views: the two photographs, with depth.
    exposure: the difference in exposure of the photographs.
    """
    seen = middle_and_photographs(gaussians, views, exposure, cloud_size(views.size))
    pictures = middle, first, second = _without_floaters(*seen)
    # Where both photographs show a place equally large, the Gaussians of the first one stay.
    parts = (
        (middle, ((first, 1 / LARGER), (second, 1 / LARGER))),
        (first, ((middle, LARGER), (second, 0.999))),
        (second, ((middle, LARGER), (first, 1.001))),
    )
    scenes = []
    for picture, others in parts:
        points, pixel = picture.points, picture.pixel
        shown = [_shown(points, pixel, other, ratio) for other, ratio in others]
        scenes.append(_at_pixels(picture.only(~(shown[0] | shown[1]))))
    return _coloured(scenes[0].joined(scenes[1]).joined(scenes[2]), pictures)


def _without_floaters(middle: Picture, first: Picture, second: Picture) -> tuple[Picture, Picture, Picture]:
    """The pictures without the depth of points that hang in front of what another picture shows.

    A photograph shows the truth, so a point in front of its surface must have the colour that the photograph shows
    there. The middle is a render, which shows the nearest surfaces already, so no point may be in front of them.
    """
    pictures, kept = (middle, first, second), []
    for picture in pictures:
        points, colours = picture.points, picture.colours
        floating = torch.zeros(len(points), dtype=torch.bool, device=points.device)
        for other in pictures:
            if other is not picture:
                floating |= _in_front(points, None if other is middle else colours, other)
        kept.append(picture.only(~floating))
    return kept[0], kept[1], kept[2]


def _in_front(points: Tensor, colours: Tensor | None, picture: Picture) -> Tensor:
    """Which points [P, 3] lie in front of all surfaces of the 3 x 3 pixels where a picture would show them, [P].

    colours: [P, 3]; points that have a colour of these pixels are not counted. With None, colours do not matter.
    """
    (h, w), depth, camera = picture.camera.size, picture.depth, picture.camera.to(points)
    position, z = project(points, camera.K[0], camera.c2w[0])
    column, row = position.nan_to_num(-1).clamp(-1, max(h, w)).floor().long().unbind(1)
    inside = (z > 0) & (column >= 1) & (column < w - 1) & (row >= 1) & (row < h - 1)
    column, row = column.clamp(1, max(1, w - 2)), row.clamp(1, max(1, h - 2))
    nearest = -F.max_pool2d(torch.where(depth > 0, -depth, -torch.inf)[None], 3, 1, 1)[0][row, column]
    front = inside & nearest.isfinite() & (z < (1 - SAME_DEPTH) * nearest)
    if colours is None:
        return front
    difference = torch.full_like(z, torch.inf)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            there = picture.image[:, row + dy, column + dx].T
            difference = difference.minimum((there - colours).abs().mean(1))
    return front & (difference > OTHER_COLOUR)


def _shown(points: Tensor, pixel: Tensor, picture: Picture, ratio: float) -> Tensor:
    """Which points [P, 3] a picture shows too, with pixels there less than `ratio` times as wide as `pixel` [P]."""
    camera = picture.camera.to(points)
    position, z = project(points, camera.K[0], camera.c2w[0])
    surface = _looked_up(picture.depth[None], position, picture.camera, "nearest")[:, 0]
    same = (z > 0) & (surface > 0) & ((z / surface.clamp_min(1e-9) - 1).abs() < SAME_DEPTH)
    return same & (z / camera.K[0, 0, 0] < ratio * pixel)


def _at_pixels(picture: Picture) -> Gaussians:
    """A round Gaussian at each point of a picture."""
    means, pixel = picture.points, picture.pixel
    g = len(means)
    return Gaussians(
        means,
        (SIZE * pixel)[:, None].expand(g, 3),
        means.new_tensor([1.0, 0, 0, 0]).expand(g, 4),
        means.new_full((g,), OPACITY),
        colours_to_sh(picture.colours),
    )


def _coloured(cloud: Gaussians, pictures: tuple[Picture, Picture, Picture]) -> Gaussians:
    """The cloud with colours that give the pictures back when it is drawn at their cameras (Van Cittert 1931).

    A drawing is blurred, and the pictures do not show quite the same colour of a place. So the colour that a drawing
    lacks is added to the Gaussians that are visible there, as the mean over the pictures.
    """
    colours = cloud.colours
    for _ in range(ITERATIONS):
        total, count = torch.zeros_like(colours), colours.new_zeros(len(cloud), 1)
        for picture in pictures:
            drawing = draw(cloud, picture.camera, near=near_plane(cloud.means, picture.camera))
            missing = (picture.image * drawing.alpha[0] - drawing.image[0]) * (picture.depth > 0)
            camera = picture.camera.to(cloud.means)
            position, z = project(cloud.means, camera.K[0], camera.c2w[0])
            here = _looked_up(torch.cat([missing, drawing.depth]), position, picture.camera, "bilinear")
            shows = ((z > 0) & (z < VISIBLE * here[:, 3]))[:, None]
            total, count = total + here[:, :3] * shows, count + shows
        colours = (colours + total / count.clamp_min(1)).clamp(*COLOURS)
        cloud = replace(cloud, sh=colours_to_sh(colours))
    return cloud


def _looked_up(maps: Tensor, position: Tensor, camera: Cameras, mode: str) -> Tensor:
    """Maps [C, h, w] of a camera at positions [P, 2], px: [P, C], and 0 outside the image."""
    grid = sampling_grid(position, camera.size)[None, None]
    return F.grid_sample(maps[None], grid, mode=mode, align_corners=False)[0, :, 0].T
