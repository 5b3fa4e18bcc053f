"""Decoder of untrusted image files, with limits."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from stages.errors import InputError
from stages.files.os_errors import require_file

# Largest image that is decoded, pixels; 1.5 GB as float32 RGB. The largest phone photographs have 108 million.
MAX_PIXELS = 128_000_000
# Formats that Pillow decodes itself. Others, such as EPS, would start an outside program (Ghostscript) on the file.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")
HINT = "give a PNG, JPEG, WebP, TIFF or BMP photograph"


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open an image and read its header only. Raises InputError: missing, a folder, not an image, or damaged."""
    require_file(path, HINT)
    what = f"cannot read {path}"
    try:
        with warnings.catch_warnings():
            # Pillow warns about damaged EXIF, odd palettes, and large sizes, which `decode` checks.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                yield image
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(what, "not an image, or in a format that cannot be decoded", HINT) from error
    except Image.DecompressionBombError as error:
        raise _too_large(path, "its header states an enormous size") from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError and more on damaged files
        hint = "the file is damaged or cut off: export it again"
        raise InputError(what, str(error) or type(error).__name__, hint) from error


def decode(path: Path) -> Image.Image:
    """The first image in a file, rotated upright as its EXIF says, in its own Pillow mode.

    Raises InputError: missing, a folder, not an image, damaged, more than MAX_PIXELS, or 32 bits per channel.
    """
    with opened(path) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise _too_large(path, f"{width} x {height} pixels")
        # Pillow gives mode I to 16-bit PGM too, which is fine.
        if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):
            why = "it has 32 bits per channel and does not say which value is white"
            raise InputError(f"cannot use {path}", why, "save it with 8 or 16 bits per channel")
        image.load()
        return ImageOps.exif_transpose(image)


def _too_large(path: Path, size: str) -> InputError:
    return InputError(f"cannot use {path}", f"{size}, above {MAX_PIXELS // 10**6} million pixels", "shrink it first")
