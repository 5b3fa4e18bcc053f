"""The black border of a photograph: letterboxes, and what undistortion and rotation leave at the edges.

It is part of the image, not of the scene. If it were taken for part of the scene, it would become dark threads and
wedges that float in space. A border that both photographs share stays the same in every frame; one that only one
photograph has is left out of the scene.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.scene import Clip

# A pixel is black if all its channels, in [0, 1], are below this. JPEG does not keep them at 0. A lower bound keeps a
# border apart from dark places beside it, so if the first bound finds none, the next is tried.
BRIGHTEST = (0.06, 0.03, 0.015, 0.004)
UNIFORM = 0.008  # a border's brightness has at most this standard deviation; dark places in a photograph have more
LARGEST = 0.6  # black pixels on a larger share of the image than this mean a dark photograph, not a border
TOUCHED = 0.02  # a border of any shape touches at least this share of each of the four sides
SHARP = 0.6  # at least this share of the pixels beside a border is clear
CLEAR = 0.12  # brightness above which a pixel is clear
STRAIGHT = 0.7  # a bar is equally thick in at least this share of its rows or columns; a date may be written on it
MIXED = 2  # pixels beside a border, px, that are mixed with it


def black_border(images: Tensor) -> Tensor:
    """The black border of each image, [N, h, w], boolean. images: [N, 3, h, w] in [0, 1].

    It consists of black pixels that are connected to the edge, and of whole black bars with what is written on them.
    It is evenly black and has sharp sides, and unless it is a bar it touches all four sides, so that a night sky is not
    taken for one. Otherwise all is False.
    """
    return torch.stack([_border_of(image) for image in images])


def scene_pixels(border: Tensor) -> Tensor:
    """The pixels of each image that show the scene alone: neither its border nor mixed with it. [N, h, w], boolean.

    border: [N, h, w], from `black_border`.
    """
    return ~_grown(border, MIXED)


def beside_shared_border(border: Tensor) -> Tensor:
    """The pixels that are mixed with a border which all images share, [h, w], boolean. border: see `scene_pixels`."""
    return _grown(border.all(0), MIXED + 1) & ~border.any(0)


def keep_border(clip: Clip, images: Tensor) -> Clip:
    """The clip, with the black border that both photographs share laid over every frame. images: [2, 3, h, w].

    Without a shared border, or where the clip has another size than the photographs, the clip is returned as it is.
    """
    if clip.frames.shape[-2:] != images.shape[-2:]:
        return clip
    border = black_border(images).all(0).to(clip.frames.device)
    if not bool(border.any()):
        return clip
    return replace(clip, frames=torch.where(border, images.mean(0).to(clip.frames), clip.frames))


def _border_of(image: Tensor) -> Tensor:
    """The black border of one image [3, h, w], [h, w], boolean."""
    brightness = image.amax(0)
    found = (_border_below(brightness, bound) for bound in BRIGHTEST)
    return next((border for border in found if bool(border.any())), torch.zeros_like(brightness, dtype=torch.bool))


def _border_below(brightness: Tensor, bound: float) -> Tensor:
    """The border of pixels whose brightness [h, w] is below `bound`."""
    black = brightness < bound
    none, bars = torch.zeros_like(black), _bars(black)
    border = connected_to_the_edge(black) | bars
    share = float(border.float().mean())
    sides = [float(side.float().mean()) for side in (border[0], border[-1], border[:, 0], border[:, -1])]
    if not 0 < share < LARGEST or not (bars.any() or min(sides) >= TOUCHED):
        return none
    inner = border & black & ~_grown(~border, MIXED)  # JPEG has rings beside the scene
    evenly = brightness[inner if bool(inner.any()) else border & black]
    beside = _grown(border, MIXED + 1) & ~_grown(border, MIXED)
    sharp = (brightness[beside] > CLEAR).float().mean()
    return border if float(evenly.std(correction=0)) <= UNIFORM and float(sharp) >= SHARP else none


def connected_to_the_edge(black: Tensor) -> Tensor:
    """Flood fill of a mask [h, w]: its pixels at the edge, and their neighbours, also diagonal ones, to the end."""
    border = torch.zeros_like(black)
    border[[0, -1]], border[:, [0, -1]] = black[[0, -1]], black[:, [0, -1]]
    count = 0
    while int(border.sum()) > count:
        count = int(border.sum())
        border = _grown(border, 1) & black
        # Whole runs at once: a fill by single pixels takes as many rounds as the way is long.
        border = _along_runs(_along_runs(border, black).T, black.T).T
    return border


def _along_runs(border: Tensor, black: Tensor) -> Tensor:
    """Add to a border [h, w] the black pixels of each row that are in one run with a pixel of it."""
    run = (~black).cumsum(1)  # a number for each run, and for the pixel before it
    touched = torch.zeros(len(black), black.shape[1] + 1, dtype=torch.int32, device=black.device)
    touched.scatter_add_(1, run, border.int())
    return (touched.gather(1, run) > 0) & black


def _bars(black: Tensor) -> Tensor:
    """Whole bars along the four sides, with what is written on them."""
    bars = torch.zeros_like(black)
    for turns in range(4):
        turned = torch.rot90(black, turns)
        depths = turned.int().cumprod(0).sum(0)  # how many pixels of each column are black, counted from the edge
        depth = int(depths.median())
        along = (depths > 0) & ((depths - depth).abs() <= 1)
        if 0 < depth < len(turned) and float(along.float().mean()) >= STRAIGHT:
            bar = torch.zeros_like(turned)
            bar[:depth] = True
            bars |= torch.rot90(bar, -turns)
    return bars


def _grown(mask: Tensor, radius: int) -> Tensor:
    """A mask [..., h, w] and the pixels up to `radius` px away."""
    return F.max_pool2d(mask[None].float(), 2 * radius + 1, 1, radius)[0] > 0
