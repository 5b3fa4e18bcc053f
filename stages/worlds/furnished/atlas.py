"""Looks up colours in many square pictures of one size, with mipmaps, in numpy."""

import numpy as np
from numpy.typing import NDArray

from stages.worlds.furnished.vectors import Floats, Integers


class Atlas:
    """N square pictures, and copies of them at 1/2, 1/4, ... of their size, down to 8 pixels.

    levels: [N * side * side, 3], uint8, for each size.  side: of the largest, px.
    mirror: whether every second repetition of a picture is mirrored, so that there is no seam.
    """

    def __init__(self, levels: list[NDArray[np.uint8]], side: int, mirror: bool) -> None:
        self.side, self.mirror = side, mirror
        # Four bytes per texel, so that one look-up fetches a colour.
        padded = np.zeros((sum(len(level) for level in levels), 4), np.uint8)
        first = 0
        starts = []
        for level in levels:
            padded[first : first + len(level), :3] = level
            starts.append(first)
            first += len(level)
        self.texels = padded.view(np.uint32)[:, 0]
        self.starts = np.array(starts, np.int64)

    def sample(self, index: Integers, uv: Floats, footprint: Floats) -> Floats:
        """Bilinear colour [R, 3], 0 to 255, in the level nearest to the footprint.

        index: [R], of the picture.  uv: [R, 2], in units of a picture.  footprint: [R], width of a pixel in this unit.
        """
        level = np.log2(np.maximum(footprint * self.side, 1.0)).round().astype(np.int64)
        level = np.minimum(level, len(self.starts) - 1)
        side = self.side >> level
        base = self.starts.take(level) + index * side * side
        position = np.abs(uv % np.float32(2) - 1) if self.mirror else uv % np.float32(1)
        position = position * side[:, None].astype(np.float32) - np.float32(0.5)
        low = np.floor(position)
        fraction = position - low
        x0, y0 = low[:, 0].astype(np.int64), low[:, 1].astype(np.int64)
        last = side - 1
        x1, y1 = np.minimum(x0 + 1, last), np.minimum(y0 + 1, last)
        x0, y0 = np.maximum(x0, 0), np.maximum(y0, 0)
        row0, row1 = base + y0 * side, base + y1 * side
        fx, fy = fraction[:, :1], fraction[:, 1:]
        top = self._texels(row0 + x0) * (1 - fx) + self._texels(row0 + x1) * fx
        bottom = self._texels(row1 + x0) * (1 - fx) + self._texels(row1 + x1) * fx
        return top * (1 - fy) + bottom * fy

    def _texels(self, position: Integers) -> Floats:
        return self.texels.take(position).view(np.uint8).reshape(-1, 4)[:, :3].astype(np.float32)


def atlas_of(pictures: NDArray[np.uint8], mirror: bool) -> Atlas:
    """An atlas of pictures [N, side, side, 3]; side is a power of two."""
    levels, side, level = [], pictures.shape[1], pictures
    while level.shape[1] >= 8:
        levels.append(level.reshape(-1, 3))
        wide = level.astype(np.uint16)
        level = ((wide[:, ::2, ::2] + wide[:, 1::2, ::2] + wide[:, ::2, 1::2] + wide[:, 1::2, 1::2] + 2) // 4).astype(
            np.uint8
        )
    return Atlas(levels, side, mirror)
