"""Two photographs that differ and are quick to read."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_photographs(folder: Path) -> tuple[Path, Path]:
    """Write two photographs of 96 x 64 into a folder, as small PNG files. Returns their paths."""
    generator = np.random.default_rng(0)
    paths = folder / "room_0.png", folder / "room_1.png"
    for path in paths:
        small = Image.fromarray(generator.integers(0, 256, (8, 12, 3), dtype=np.uint8))
        small.resize((96, 64), Image.Resampling.BICUBIC).save(path)
    return paths
