"""The focal length that a camera wrote into a photograph.

Tags: EXIF 2.32, section 4.6.5. The 35 mm equivalent: CIPA DCG-001.
"""

import math
from pathlib import Path

from PIL.ExifTags import IFD, Base

from stages.files.image_decoding import opened

FILM_DIAGONAL = math.hypot(36.0, 24.0)  # mm, of a 35 mm film frame
UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 1e-3}  # millimetres per unit, by the value of the tag FocalPlaneResolutionUnit
# Accepted focal lengths, as multiples of the image's longer side: from a wide angle of 115 degrees to a telephoto of
# 400 mm. Outside this range the tag is wrong or the lens is not a pinhole.
SANE_RATIO = (0.3, 11.0)


def read_focal(path: Path) -> float | None:
    """Focal length in pixels of the image as read_image returns it, or None if the file states none or an absurd one.

    It comes from FocalLengthIn35mmFilm (equal field of view along the diagonal), else from FocalLength and
    FocalPlaneXResolution, scaled if the image was resized after the shot. EXIF does not tell whether the image was
    cropped. Raises InputError when the file is not a readable image.
    """
    with opened(path) as image:
        size = image.size
        try:
            tags = dict(image.getexif().get_ifd(IFD.Exif))
        except Exception:  # damaged EXIF raises struct.error, SyntaxError and more
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
    resolution = _positive(tags.get(Base.FocalPlaneXResolution))  # px per unit
    unit = tags.get(Base.FocalPlaneResolutionUnit, 2)
    if length is None or resolution is None or unit not in UNIT_MM:
        return None
    shot = [_positive(tags.get(Base.ExifImageWidth)), _positive(tags.get(Base.ExifImageHeight))]
    # The longer sides are compared because some software swaps width and height when it rotates the pixels.
    factor = max(size) / max(side for side in shot if side) if all(shot) else 1.0
    return length * resolution / UNIT_MM[int(unit)] * factor


def _positive(value: object) -> float | None:
    """A tag's value as a float if it is finite and positive, else None. EXIF uses 0, also 0/0, for unknown."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None
