"""Raw files of cameras, told by their name or their tags. They must be developed before they are photographs.

Most raw formats (DNG, NEF, CR2, ARW) are TIFF files whose first image is a thumbnail, so a reader of TIFF shows that.
Tags: TIFF 6.0 for NewSubfileType, TIFF-EP for SubIFDs and PhotometricInterpretation, Adobe's DNG 1.7 for DNGVersion.
"""

from pathlib import Path

from PIL import Image

from stages.errors import InputError

# Endings of the raw files of the large makers of cameras.
ENDINGS = (
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".k25", ".kdc", ".mef", ".mos", ".mrw",
    ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
)  # fmt: skip
NEW_SUBFILE_TYPE, PHOTOMETRIC, SUB_IFDS, DNG_VERSION = 254, 262, 330, 50706
REDUCED = 1  # bit of NewSubfileType: a smaller version of another image of the file
SENSOR_VALUES = (32803, 34892)  # values of PhotometricInterpretation: a colour filter array, linear raw


def require_developed(path: Path, image: Image.Image | None = None) -> None:
    """Raise InputError if a file is a raw one by its ending or, if `image` is given, by that TIFF image's tags."""
    if path.suffix.lower() in ENDINGS or (image is not None and image.format == "TIFF" and _is_raw(image)):
        why = "it is a raw file, which holds sensor values and a small preview"
        raise InputError(f"cannot use {path}", why, "develop it to JPEG or TIFF first, with the camera's program")


def _is_raw(image: Image.Image) -> bool:
    tags = getattr(image, "tag_v2", {})
    kind, photometric = tags.get(NEW_SUBFILE_TYPE, 0), tags.get(PHOTOMETRIC)
    is_thumbnail = isinstance(kind, int) and bool(kind & REDUCED) and SUB_IFDS in tags
    return DNG_VERSION in tags or photometric in SENSOR_VALUES or is_thumbnail
