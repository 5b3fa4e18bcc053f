"""The focal length that a camera wrote into a photograph (EXIF 2.32, section 4.6.5; CIPA DCG-001 for the 35 mm equivalent)."""

from __future__ import annotations

import math
from pathlib import Path

from PIL.ExifTags import IFD, Base

from stages.files.image_decoding import opened

FILM_DIAGONAL = math.hypot(36.0, 24.0)  # mm
UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 1e-3}  # FocalPlaneResolutionUnit
# Focal length over the longer side: a 115 degree wide angle to a 400 mm telephoto. Outside, the tag is wrong or the lens not a pinhole.
SANE_RATIO = (0.3, 11.0)


def read_focal(path: Path) -> float | None:
    """Focal length in pixels of the image as read_image returns it; None when the file states none or an absurd one.

    From FocalLengthIn35mmFilm (equal field of view along the diagonal), else FocalLength and FocalPlaneXResolution, scaled when the
    image was resized after the shot. A crop cannot be seen in EXIF. Raises InputError when the file is no readable image.
    """
    with opened(path) as image:
        size = image.size
        try:
            tags = dict(image.getexif().get_ifd(IFD.Exif))
        except Exception:  # damaged EXIF (struct.error, SyntaxError, ...) states no focal length
            return None
    for focal in (_from_film(tags, size), _from_focal_plane(tags, size)):
        if focal is not None and SANE_RATIO[0] <= focal / max(size) <= SANE_RATIO[1]:
            return focal
    return None


def _from_film(tags: dict[int, object], size: tuple[int, int]) -> float | None:
    film = _positive(tags.get(Base.FocalLengthIn35mmFilm))
    return None if film is None else film / FILM_DIAGONAL * math.hypot(*size)


def _from_focal_plane(tags: dict[int, object], size: tuple[int, int]) -> float | None:
    length = _positive(tags.get(Base.FocalLength))  # mm
    resolution = _positive(tags.get(Base.FocalPlaneXResolution))  # px a unit
    unit = tags.get(Base.FocalPlaneResolutionUnit, 2)
    if length is None or resolution is None or unit not in UNIT_MM:
        return None
    shot = [_positive(tags.get(Base.ExifImageWidth)), _positive(tags.get(Base.ExifImageHeight))]
    # The longer sides are compared, since some software swaps width and height when it rotates the pixels.
    resized = max(size) / max(side for side in shot if side) if all(shot) else 1.0
    return length * resolution / UNIT_MM[int(unit)] * resized


def _positive(value: object) -> float | None:
    """A tag as a float, None unless finite and positive (0 means unknown in EXIF; a rational may be 0 / 0)."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None
