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
    levels = _levels(depth, unit)
    if levels.numel() and float(levels.max()) > LEVELS:
        why = f"depths up to {float(levels.max()) * unit:g} with unit {unit:g}"
        raise InputError(f"cannot write {path}", why, "give a larger unit")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(levels.cpu().numpy().astype(np.uint16)).save(path, format="PNG", compress_level=1)


def as_in_png(depth: Tensor) -> Tensor:
    """The depth maps, float32, that 16-bit PNGs of depth [N, h, w] give back, on its device.

    Maps from such PNGs do not change.
    """
    unit = depth_unit(depth)
    return _levels(depth, unit).mul_(unit).float()


def _levels(depth: Tensor, unit: float) -> Tensor:
    """The pixel values of the PNG, as whole numbers in float64."""
    is_known = torch.isfinite(depth) & (depth > 0)
    # A tiny known depth must not become 0, which means unknown.
    return torch.where(is_known, (depth.detach().double() / unit).round().clamp(min=1), 0.0)


def read_depth(path: Path, unit: float) -> Tensor:
    """Read a 16-bit depth PNG as camera z, [h, w], float32, 0 where unknown.

    Raises InputError when it is missing, damaged or not 16-bit grey.
    """
    image = decode(path)
    if not image.mode.startswith("I"):
        why = f"a {image.mode} image, not a 16-bit depth map"
        raise InputError(f"cannot read {path}", why, "give a 16-bit grey PNG")
    return torch.from_numpy(np.asarray(image).astype(np.float64) * unit).float()
