"""Depth maps as 16-bit grey PNG. A pixel's value times a unit is camera z; the value 0 means unknown."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stages.errors import InputError
from stages.files.image_decoding import decode
from stages.files.os_errors import writing

LEVELS = 65535  # largest value of a 16-bit pixel


def depth_unit(depth: Tensor) -> float:
    """The unit that spreads these depths over all 16 bits: the largest known depth / 65535, or 1 if none is known."""
    values = depth[torch.isfinite(depth) & (depth > 0)]
    return float(values.max()) / LEVELS if values.numel() else 1.0


def write_depth(path: Path, depth: Tensor, unit: float) -> None:
    """Write camera z [h, w], scene units, as a 16-bit PNG of round(depth / unit). The error is at most unit / 2.

    Depths that are not finite or not positive are written as unknown (0). Raises InputError if the unit is not positive
    or a depth does not fit 16 bits; RunError when the disk is full.
    """
    if not unit > 0:
        raise InputError(f"cannot write {path}", f"the depth unit is {unit}", "give a unit above 0")
    largest = float(depth[torch.isfinite(depth)].max()) if bool(torch.isfinite(depth).any()) else 0.0
    if round(largest / unit) > LEVELS:
        why = f"depths up to {largest:g} with unit {unit:g}"
        raise InputError(f"cannot write {path}", why, "give a larger unit")
    write_levels(path, as_levels(depth, unit))


def write_levels(path: Path, levels: Tensor) -> None:
    """Write the pixel values [h, w], uint16, of a depth map. Raises RunError when the disk is full."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(levels.cpu().numpy()).save(path, format="PNG", compress_level=1)


def as_in_png(depth: Tensor) -> Tensor:
    """The depth maps, float32, that 16-bit PNGs of depth [N, h, w] give back, on its device.

    Maps from such PNGs do not change.
    """
    unit = depth_unit(depth)
    return from_levels(as_levels(depth, unit), unit)


def as_levels(depth: Tensor, unit: float) -> Tensor:
    """The pixel values of the PNG, uint16. unit: at least the largest depth / 65535."""
    is_known = torch.isfinite(depth) & (depth > 0)
    # A tiny known depth must not become 0, which means unknown.
    levels = torch.where(is_known, (depth.detach().double() / unit).round().clamp(min=1), 0.0)
    return levels.to(torch.int32).to(torch.uint16)


def from_levels(levels: Tensor, unit: float) -> Tensor:
    """Camera z, float32, scene units, of the pixel values of a PNG."""
    return levels.double().mul_(unit).float()


def read_levels(path: Path) -> Tensor:
    """Read the pixel values of a 16-bit depth PNG, [h, w], uint16.

    Raises InputError when it is missing, damaged or not 16-bit grey.
    """
    image = decode(path)
    if not image.mode.startswith("I"):
        why = f"a {image.mode} image, not a 16-bit depth map"
        raise InputError(f"cannot read {path}", why, "give a 16-bit grey PNG")
    return torch.from_numpy(np.asarray(image).astype(np.uint16))


def read_depth(path: Path, unit: float) -> Tensor:
    """Read a 16-bit depth PNG as camera z, [h, w], float32, 0 where unknown. Raises InputError as `read_levels`."""
    return from_levels(read_levels(path), unit)
