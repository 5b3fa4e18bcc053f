"""Surface textures: tiles from a folder of images, and procedural ones (noise, stripes, checks, cells, plain paint).

Networks learn geometry from varied textures and occlusion edges, not from meaning (LRM-Zero, MegaSynth).
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from stages.errors import InputError
from stages.files.image_decoding import photographs_in
from stages.files.images import read_image

TILE = 256  # side of a tile in pixels
SEED, PHOTOS, PROCEDURAL = 1000, 900, 200  # seed and numbers of the textures in the worlds that are trained on
LEVELS = 6  # number of mip levels, from 256 to 8 pixels


class Textures:
    """Square tiles and their mip pyramid.

    tiles: [N, 3, 256, 256] in [0, 1]. They are repeated as mirror images, so no seam shows.
    names: what each tile shows, "" if unknown.
    """

    def __init__(self, tiles: Tensor, names: list[str] | None = None) -> None:
        self.names = [""] * len(tiles) if names is None else names
        pyramid = [tiles.float()]
        for _ in range(LEVELS - 1):
            pyramid.append(F.avg_pool2d(pyramid[-1], 2))
        self.levels = [(level * 255).round().to(torch.uint8).permute(0, 2, 3, 1).reshape(-1, 3) for level in pyramid]
        self.count = tiles.shape[0]

    def sample(self, index: Tensor, uv: Tensor, footprint: Tensor) -> Tensor:
        """Bilinear colour at the nearest mip level.

        index: [R], tile numbers.  uv: [R, 2], in tiles.  footprint: [R], size of a pixel in tiles.
        Returns [R, 3] in [0, 1].
        """
        level = torch.log2((footprint * TILE).clamp_min(1.0)).round().clamp_max(LEVELS - 1).long()
        side = torch.div(TILE, 2**level, rounding_mode="floor")
        folded = (uv.remainder(2.0) - 1.0).abs() * side[:, None] - 0.5
        low = folded.floor()
        fraction = folded - low
        x0, y0 = low.long().unbind(-1)
        colour = torch.zeros(len(index), 3)
        for dx in (0, 1):
            for dy in (0, 1):
                x = (x0 + dx).clamp_min(0).minimum(side - 1)
                y = (y0 + dy).clamp_min(0).minimum(side - 1)
                weight = (fraction[:, 0] if dx else 1 - fraction[:, 0]) * (fraction[:, 1] if dy else 1 - fraction[:, 1])
                colour += weight[:, None] * self._texel(level, index * side * side + y * side + x)
        return colour / 255

    def _texel(self, level: Tensor, position: Tensor) -> Tensor:
        out = torch.empty(len(level), 3)
        for k, texels in enumerate(self.levels):
            mask = level == k
            out[mask] = texels[position[mask]].float()
        return out


def load_textures(folder: Path | None, generator: Generator, photos: int = 600, procedural: int = 160) -> Textures:
    """`photos` random tiles from the images of a folder, if one is given, and `procedural` procedural ones.

    If the folder has a table MANIFEST.tsv (file name in the first column, origin in the last), it names the tiles.
    Raises InputError when the folder holds no image.
    """
    tiles = [procedural_tile(generator) for _ in range(procedural)]
    names = [""] * procedural
    if folder is not None:
        paths = photographs_in(folder)
        if not paths:
            raise InputError(f"no textures in {folder}", "it holds no image", "give a folder of texture images")
        table = folder / "MANIFEST.tsv"
        rows = [line.split("\t") for line in table.read_text().splitlines()] if table.is_file() else []
        origin = {row[0]: row[-1] for row in rows}
        for k in torch.randperm(len(paths), generator=generator)[:photos].tolist():
            names.append(origin.get(paths[k].name, paths[k].name))
            tile = read_image(paths[k])[None]
            if tile.shape[-2:] != (TILE, TILE):
                tile = F.interpolate(tile, (TILE, TILE), mode="bilinear", antialias=True)
            tiles.append(natural(tile[0], generator))
    return Textures(torch.stack(tiles), names)


def surfaces(folder: Path | None) -> Textures:
    """The textures of all worlds that are trained on, see `load_textures`. The same folder gives the same ones."""
    return load_textures(folder, Generator().manual_seed(SEED), PHOTOS, PROCEDURAL)


def natural(tile: Tensor, generator: Generator) -> Tensor:
    """Make a game texture more like a photograph: mean brightness 0.25 to 0.75, and less saturated."""
    grey = tile.mean(0, keepdim=True)
    tile = grey + (tile - grey) * _uniform(generator, 0.3, 1.0)
    return (tile * _uniform(generator, 0.25, 0.75) / grey.mean().clamp_min(0.05)).clamp(0, 1)


def _uniform(generator: Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _noise(generator: Generator, cells: int, channels: int = 1) -> Tensor:
    grid = torch.rand(1, channels, cells, cells, generator=generator)
    return F.interpolate(grid, (TILE, TILE), mode="bicubic")[0].clamp(0, 1)


def _octaves(generator: Generator, first: int, count: int, channels: int = 1) -> Tensor:
    total = sum((_noise(generator, min(TILE, first * 2**k), channels) - 0.5) * 0.65**k for k in range(count))
    return (0.5 + 0.8 * torch.as_tensor(total)).clamp(0, 1)


def procedural_tile(generator: Generator) -> Tensor:
    """One random procedural tile, [3, 256, 256] in [0, 1]."""
    a = torch.rand(3, 1, 1, generator=generator)
    b = torch.rand(3, 1, 1, generator=generator)
    kind = int(torch.randint(6, (), generator=generator))
    x = torch.linspace(0, 1, TILE).expand(TILE, TILE)
    y = x.mT
    if kind == 0:  # plain, slightly uneven paint, on which matching fails
        base = 0.25 + 0.7 * torch.rand(1, 1, 1, generator=generator) + 0.1 * (a - 0.5)
        return (base + 0.03 * (_octaves(generator, 3, 3) - 0.5)).clamp(0, 1)
    if kind == 1:
        mix = _octaves(generator, int(_uniform(generator, 2, 9)), 5)
    elif kind == 2:  # stripes, possibly slanted
        angle, count = _uniform(generator, 0, 3.14), _uniform(generator, 4, 24)
        phase = (x * torch.cos(torch.tensor(angle)) + y * torch.sin(torch.tensor(angle))) * count
        mix = ((phase * 6.2832).sin() * 4).sigmoid()[None]
    elif kind == 3:  # tiles with joints
        count = _uniform(generator, 2, 9)
        u, v = (x * count).frac(), (y * count).frac()
        joint = ((u < 0.06) | (v < 0.06)).float()
        cell = torch.rand(16, 16, generator=generator)[(y * count).long() % 16, (x * count).long() % 16]
        mix = (0.75 * cell * (1 - joint) + joint)[None]
    elif kind == 4:  # Voronoi cells
        seeds = torch.rand(int(_uniform(generator, 8, 60)), 2, generator=generator)
        distance = torch.cdist(torch.stack([x.flatten(), y.flatten()], -1), seeds)
        shade = torch.rand(len(seeds), 3, generator=generator)
        return shade[distance.argmin(1)].T.reshape(3, TILE, TILE) * (0.8 + 0.2 * _octaves(generator, 8, 3))
    else:  # coloured noise
        return _octaves(generator, int(_uniform(generator, 2, 16)), 4, channels=3)
    grain = 0.12 * (_octaves(generator, 16, 4) - 0.5)
    return (a * mix + b * (1 - mix) + grain).clamp(0, 1)
