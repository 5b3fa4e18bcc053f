"""Render the demo pair, room_0.png and room_1.png, with the project's own worlds: python examples/make_room.py"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator

from stages.files.images import write_png
from stages.worlds import Textures, sample_scene
from stages.worlds.textures import natural, procedural_tile

TEXTURE_SEED, WORLD_SEED, SIZE = 7, 115, (480, 720)


def main() -> None:
    g = Generator().manual_seed(TEXTURE_SEED)
    textures = Textures(torch.stack([natural(procedural_tile(g), g) for _ in range(100)]))
    fine = (SIZE[0] * 2, SIZE[1] * 2)  # twice as fine, then averaged: smooth edges as a lens makes them
    views = sample_scene(textures, Generator().manual_seed(WORLD_SEED), fine, [])
    photos = F.avg_pool2d((views.images * 1.25).clamp(0, 1) ** 0.85, 2)
    for k, photo in enumerate(photos):
        write_png(Path(__file__).parent / f"room_{k}.png", photo)


if __name__ == "__main__":
    main()
