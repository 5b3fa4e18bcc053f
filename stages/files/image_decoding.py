"""Image files that nobody vouches for, decoded with limits."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from stages.errors import InputError
from stages.files.os_errors import require_file

MAX_PIXELS = 128_000_000  # the largest phone photographs have 108 million; a decoded float32 image of this size takes 1.5 GB

# Formats with a decoder inside Pillow. EPS and the like would start Ghostscript on the file.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")
HINT = "give a PNG, JPEG, WebP, TIFF or BMP photograph"


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The image with its header read and its pixels not yet. InputError when it is missing, a folder, no image or damaged."""
    require_file(path, HINT)
    what = f"cannot read {path}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, about damaged EXIF, odd palettes, and sizes that are checked below
            with Image.open(path, formats=FORMATS) as image:
                yield image
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(what, "not an image, or of a format that cannot be decoded", HINT) from error
    except Image.DecompressionBombError as error:
        raise _too_large(path, "its header states an enormous size") from error
    except Exception as error:  # on damaged files Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        raise InputError(what, str(error) or type(error).__name__, "the file is damaged or cut off: export it again") from error


def decode(path: Path) -> Image.Image:
    """The first image of a file, turned upright as its EXIF says, in its own Pillow mode.

    Raises InputError: missing, a folder, not an image, damaged or cut off, more than MAX_PIXELS, or 32 bits a channel.
    """
    with opened(path) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise _too_large(path, f"{width} x {height} pixels")
        if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):  # 16-bit PGM is mode I, on the 16-bit scale
            raise InputError(f"cannot use {path}", "32 bits a channel, with no stated white level", "save it with 8 or 16 bits a channel")
        image.load()
        return ImageOps.exif_transpose(image)


def _too_large(path: Path, size: str) -> InputError:
    return InputError(f"cannot use {path}", f"{size}, above {MAX_PIXELS // 10**6} million pixels", "shrink it first")
