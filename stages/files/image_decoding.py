"""Decoder of untrusted image files, with limits. HEIC and HEIF are read by pi-heif, all other formats by Pillow."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from stages.errors import InputError
from stages.files.file_kinds import describe_file
from stages.files.os_errors import require_file
from stages.files.raw_photographs import require_developed

# Largest image that is decoded, pixels; 1.5 GB as float32 RGB. The largest phone photographs have 108 million.
MAX_PIXELS = 128_000_000
# Formats that Pillow decodes itself. Others, such as EPS, would start an outside program (Ghostscript) on the file.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")
# Endings of files in these formats and in HEIF. A folder of photographs is searched for them.
ENDINGS = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm", ".jp2", ".j2k",
    ".avif", ".heic", ".heif", ".hif",
)  # fmt: skip
# Brands at bytes 8 to 12 of a HEIF file (ISO/IEC 23008-12).
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
HINT = "give a PNG, JPEG, HEIC, WebP, TIFF or BMP photograph"
# Ratios of the width to the height of a pixel that are believed. Others are mistakes of whoever wrote the file.
PIXEL_RATIOS = (0.4, 2.5)
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # EXIF's tag, and its values that swap width and height
SQUARE = 0.03  # largest deviation of this ratio from 1 of a square pixel


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open an image and read its header only.

    Raises InputError if it is missing, a folder, not an image, damaged, or a raw file of a camera.
    """
    require_file(path, HINT)
    require_developed(path)
    what = f"cannot read {path}"
    try:
        with warnings.catch_warnings():
            # Pillow warns about damaged EXIF, odd palettes, and large sizes, which `decode` checks.
            warnings.simplefilter("ignore")
            with _open_heif(path) if _is_heif(path) else Image.open(path, formats=FORMATS) as image:
                require_developed(path, image)
                yield image
    except InputError:
        raise
    except UnidentifiedImageError as error:
        kind = describe_file(path)
        if kind is not None:
            raise InputError(what, f"it is {kind[0]}", kind[1]) from error
        raise InputError(what, "not an image, or in a format that cannot be decoded", HINT) from error
    except Image.DecompressionBombError as error:
        raise _too_large(path, "its header states an enormous size") from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError and more on damaged files
        hint = "the file is damaged or cut off: export it again"
        raise InputError(what, str(error) or type(error).__name__, hint) from error


def decode(path: Path) -> Image.Image:
    """The first image in a file, rotated upright as its EXIF says, in its own Pillow mode.

    Raises InputError as `opened` does, and if the image has more than MAX_PIXELS, pixels that are not square, or 32
    bits per channel.
    """
    with opened(path) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise _too_large(path, f"{width} x {height} pixels")
        _require_square_pixels(path, image)
        # Pillow gives mode I to 16-bit PGM too, which is fine.
        if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):
            why = "it has 32 bits per channel and does not say which value is white"
            raise InputError(f"cannot use {path}", why, "save it with 8 or 16 bits per channel")
        image.load()
        return ImageOps.exif_transpose(image)


def photographs_in(folder: Path) -> list[Path]:
    """The image files of a folder, by their endings, sorted by name.

    Hidden files are left out. macOS writes such a file, ._NAME, beside each photograph on a foreign disk.
    Raises InputError when the folder cannot be listed.
    """
    try:
        names = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"cannot read {folder}", error.strerror or str(error), "give a folder of photographs"
        ) from error
    return [path for path in names if path.suffix.lower() in ENDINGS and not path.name.startswith(".")]


def image_size(path: Path) -> tuple[int, int]:
    """(h, w) of an image as `decode` returns it, px, from its header. Raises InputError as `opened` does."""
    with opened(path) as image:
        width, height = image.size
        try:
            turned = image.getexif().get(ORIENTATION) in TURNED
        except Exception:  # damaged EXIF raises struct.error, SyntaxError and more
            turned = False
    return (width, height) if turned else (height, width)


def _is_heif(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(64)
    # A general brand may stand before that of AVIF, which Pillow reads.
    return head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS and b"avif" not in head


def _open_heif(path: Path) -> Image.Image:
    """Open the first image of a HEIF file. libheif has turned it upright."""
    from pi_heif import HeifImageFile

    try:
        return HeifImageFile(path)
    except SyntaxError as error:
        hint = "export it again, or as JPEG"
        raise InputError(f"cannot read {path}", f"it is a HEIC or HEIF file, but damaged: {error}", hint) from error


def _require_square_pixels(path: Path, image: Image.Image) -> None:
    """Raise InputError if the file says that its pixels are wider or higher, as frames of some video formats are."""
    density = image.info.get("jfif_density") or image.info.get("aspect") or image.info.get("dpi")
    if not isinstance(density, tuple) or len(density) != 2 or not all(0 < float(value) < 1e9 for value in density):
        return
    ratio = float(density[1]) / float(density[0])  # of the width of a pixel to its height
    if PIXEL_RATIOS[0] < ratio < PIXEL_RATIOS[1] and abs(ratio - 1) > SQUARE:
        why = f"it says that its pixels are {ratio:.2f} times as wide as high"
        raise InputError(f"cannot use {path}", why, "resize it so that its pixels are square")


def _too_large(path: Path, size: str) -> InputError:
    return InputError(f"cannot use {path}", f"{size}, above {MAX_PIXELS // 10**6} million pixels", "shrink it first")
