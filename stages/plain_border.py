"""The plain border of a photograph: letterboxes, bars of a screenshot, corners that undistortion or rotation left.

It is black, or consists of straight bars of other colours. It is part of the image, not of the scene. If it were taken
for part of the scene, it would become dark threads and wedges that float in space. A border that both photographs share
stays where it is in every frame; one that only one photograph has is left out of the scene.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.scene import Views

# A pixel has the border's colour if every channel, in [0, 1], differs from it by less than a bound. These bounds are
# tried in order until one finds a border. JPEG changes colours a little, which needs a high bound. A border beside
# similar colours needs a low one.
FURTHEST = (0.06, 0.03, 0.015, 0.004)
UNIFORM = 0.008  # a border's brightness has at most this standard deviation; places in a photograph have more
LARGEST = 0.6  # one colour on a larger share of the image than this means a dark or empty photograph, not a border
TOUCHED = 0.02  # a border without a straight bar must touch at least this share of each of the four sides
SHARP = 0.6  # at least this share of the pixels beside a border differs clearly from it
CLEAR = 0.12  # a pixel differs clearly from a border if one of its channels, in [0, 1], differs by more than this
# A bar is equally thick in at least this share of its rows or columns; a date may be written on it. Bars of a colour
# other than black are looked for only if at least this share of an outermost line of the image has that colour.
STRAIGHT = 0.7
MIXED = 2  # width of the strip beside a border whose pixels are mixed with it, px


def plain_border(images: Tensor) -> Tensor:
    """The border of each image, [N, h, w], boolean. images: [N, 3, h, w] in [0, 1].

    It consists of black pixels that are connected to the edge, and of whole bars of one colour with what is written on
    them. To count as a border they must have an even colour and sharp sides. Black pixels that form no bar must touch
    all four sides, so that a night sky is not taken for a border. Bars of another colour must not lie along the top
    alone, as a white sky over the sea does. An image without a border gets False everywhere.
    """
    return torch.stack([_border_of(image) for image in images])


def scene_pixels(border: Tensor) -> Tensor:
    """The pixels of each image that show the scene alone: neither its border nor mixed with it. [N, h, w], boolean.

    border: [N, h, w], from `plain_border`.
    """
    return ~_grown(border, MIXED)


def without_border(views: Views, border: Tensor | None = None) -> Views:
    """Photographs whose depth is 0, which means unknown, at their plain border and at the pixels mixed with it.

    views: with depth.  border: [N, h, w], from `plain_border`, if it is known.
    """
    assert views.depth is not None, "the caller has checked it"
    border = plain_border(views.images) if border is None else border
    return replace(views, depth=views.depth.where(scene_pixels(border).to(views.depth.device), 0))


@dataclass(frozen=True, eq=False)
class SharedBorder:
    """The border that two photographs share: it stays where it is in every frame.

    mask: [h, w], boolean, the border and the pixels mixed with it.  images: [2, 3, h, w], the photographs.
    """

    mask: Tensor
    images: Tensor

    @classmethod
    def of(cls, views: Views, border: Tensor, size: tuple[int, int]) -> SharedBorder | None:
        """The border in frames of a size (h, w). None if there is none, or no photographs of this size.

        border: [2, h, w], from `plain_border`, of the images of `views`.
        """
        images = next((v.images for v in (views, views.full) if v is not None and v.cameras.size == size), None)
        if images is None or not bool(border.all(0).any()):
            return None
        shared = (border if images is views.images else plain_border(images)).all(0)
        return cls(_grown(shared, MIXED), images) if bool(shared.any()) else None

    def laid_over(self, frames: Tensor, nearness: Tensor) -> Tensor:
        """Frames [N, 3, h, w] with the border. nearness: [N, 2], the weights of the photographs."""
        image = torch.einsum("nk,kchw->nchw", nearness.to(frames), self.images.to(frames))
        return torch.where(self.mask.to(frames.device), image, frames)


def _border_of(image: Tensor) -> Tensor:
    """The border of one image. image: [3, h, w].  Returns [h, w], boolean."""
    border = _border_of_colour(image, image.new_zeros(3), bars_alone=False)
    coloured = torch.zeros_like(border)
    for line in (image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1]):
        colour = line.median(1).values
        plain = ((line - colour[:, None]).abs().amax(0) < FURTHEST[0]).float().mean()
        if float(colour.amax()) >= FURTHEST[0] and float(plain) >= STRAIGHT:
            coloured |= _border_of_colour(image, colour, bars_alone=True)
    together = border | coloured
    return together if bool(together[-1].any()) and float(together.float().mean()) < LARGEST else border


def _border_of_colour(image: Tensor, colour: Tensor, bars_alone: bool) -> Tensor:
    """The border of a colour [3]. bars_alone: only its bars, because a white sky too is connected to the edge."""
    difference = (image - colour[:, None, None]).abs().amax(0)
    found = (_border_within(image.amax(0), difference, bound, bars_alone) for bound in FURTHEST)
    return next((border for border in found if bool(border.any())), torch.zeros_like(difference, dtype=torch.bool))


def _border_within(brightness: Tensor, difference: Tensor, bound: float, bars_alone: bool) -> Tensor:
    """The border that is found with one bound: pixels count as the border's colour if they differ from it by less.

    brightness: [h, w].  difference: [h, w], of each pixel from the border's colour.
    """
    equal = difference < bound
    none, bars = torch.zeros_like(equal), _bars(equal)
    border = bars if bars_alone else connected_to_the_edge(equal) | bars
    share = float(border.float().mean())
    sides = [float(side.float().mean()) for side in (border[0], border[-1], border[:, 0], border[:, -1])]
    if not 0 < share < LARGEST or not (bars.any() or min(sides) >= TOUCHED):
        return none
    inner = border & equal & ~_grown(~border, MIXED)  # JPEG has rings beside the scene
    inner_brightness = brightness[inner if bool(inner.any()) else border & equal]
    beside = _grown(border, MIXED + 1) & ~_grown(border, MIXED)
    sharp = (difference[beside] > CLEAR).float().mean()
    return border if float(inner_brightness.std(correction=0)) <= UNIFORM and float(sharp) >= SHARP else none


def connected_to_the_edge(mask: Tensor) -> Tensor:
    """The pixels of a mask [h, w] that are connected to the edge of the image, also diagonally (flood fill)."""
    border = torch.zeros_like(mask)
    border[[0, -1]], border[:, [0, -1]] = mask[[0, -1]], mask[:, [0, -1]]
    count = 0
    while int(border.sum()) > count:
        count = int(border.sum())
        border = _grown(border, 1) & mask
        # Fill whole runs of pixels at once. Pixel by pixel, there are as many rounds as the longest way has pixels.
        border = _along_runs(_along_runs(border, mask).T, mask.T).T
    return border


def _along_runs(border: Tensor, mask: Tensor) -> Tensor:
    """Extend a border [h, w] along rows: each run of mask pixels that contains a border pixel joins it."""
    run = (~mask).cumsum(1)  # a number for each run, and for the pixel before it
    touched = torch.zeros(len(mask), mask.shape[1] + 1, dtype=torch.int32, device=mask.device)
    touched.scatter_add_(1, run, border.int())
    return (touched.gather(1, run) > 0) & mask


def _bars(plain: Tensor) -> Tensor:
    """Whole bars along the four sides of a mask [h, w] of plain pixels, with what is written on them."""
    bars = torch.zeros_like(plain)
    for turns in range(4):
        turned = torch.rot90(plain, turns)
        thicknesses = turned.int().cumprod(0).sum(0)  # how many pixels of each column are plain, counted from the edge
        thickness = int(thicknesses.median())
        along = (thicknesses > 0) & ((thicknesses - thickness).abs() <= 1)
        if 0 < thickness < len(turned) and float(along.float().mean()) >= STRAIGHT:
            bar = torch.zeros_like(turned)
            bar[:thickness] = True
            bars |= torch.rot90(bar, -turns)
    return bars


def _grown(mask: Tensor, radius: int) -> Tensor:
    """A mask [..., h, w] and the pixels up to `radius` px away."""
    return F.max_pool2d(mask[None].float(), 2 * radius + 1, 1, radius)[0] > 0
