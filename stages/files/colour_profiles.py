"""Colours in sRGB, from photographs with another colour profile (ICC), such as Display P3 or Adobe RGB."""

import io
import itertools
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

MODES = ("RGB", "L", "CMYK")  # Pillow's modes that ImageCms converts
# If no probe colour moves by more levels than this, the profile is sRGB itself, and the pixels stay as they are.
SAME = 2
PROBE = list(itertools.product((0, 51, 102, 153, 204, 255), repeat=3))  # RGB levels


def in_srgb(image: Image.Image, path: Path) -> Image.Image:
    """The image with its colours in sRGB, in mode RGB, if it has a profile of other colours; else the image itself.

    Alpha is dropped then. 16-bit grey keeps its values. A profile that cannot be used is reported as a warning that
    names `path`.
    """
    profile = image.info.get("icc_profile")
    if not profile or image.mode.startswith(("I", "F")):
        return image
    from PIL import ImageCms

    mode = image.mode if image.mode in MODES else ("L" if image.mode in ("1", "LA") else "RGB")
    try:
        transform = ImageCms.buildTransform(
            io.BytesIO(profile), ImageCms.createProfile("sRGB"), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC
        )
        if mode == "RGB" and _is_srgb(transform):
            return image
        converted = ImageCms.applyTransform(image if image.mode == mode else image.convert(mode), transform)
        return image if converted is None else converted
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        why = " ".join(str(error).split())
        warnings.warn(
            f"the colour profile of {path} is not used, it is damaged or of another mode: {why}", stacklevel=2
        )
        return image


def _is_srgb(transform: object) -> bool:
    """Whether a transform from RGB to sRGB leaves colours as they are."""
    from PIL import ImageCms

    levels = np.array(PROBE, np.uint8)[None]
    converted = np.asarray(ImageCms.applyTransform(Image.fromarray(levels), transform))  # type: ignore[arg-type]
    return int(np.abs(converted.astype(int) - levels).max()) <= SAME
