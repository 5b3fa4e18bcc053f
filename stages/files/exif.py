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
SAME_SHAPE = 0.01  # largest relative difference of two aspect ratios that are equal but for rounding


def read_focals(path: Path) -> tuple[float, ...]:
    """The focal lengths that a photograph's EXIF may mean, px of the image as read_image returns it, best first.

    They come from FocalLengthIn35mmFilm (equal field of view along the diagonal), else from FocalLength and
    FocalPlaneXResolution. There is more than one if a digital zoom may be part of the tag or not, or if the image is
    smaller than the shot and may have been cut or reduced. Empty if EXIF states none or an absurd one.
    EXIF does not show every cut. Raises InputError when the file is not a readable image.
    """
    with opened(path) as image:
        size = image.size
        try:
            tags = dict(image.getexif().get_ifd(IFD.Exif))
        except Exception:  # damaged EXIF raises struct.error, SyntaxError and more
            return ()
    shot, scales = _shot(tags, size)
    # Some cameras count a digital zoom in the 35 mm equivalent, others do not. It is never part of FocalLength.
    zoom = _positive(tags.get(Base.DigitalZoomRatio)) or 1.0
    for focal, zooms in ((_from_film(tags, shot), (zoom, 1.0)), (_from_focal_plane(tags), (zoom,))):
        readings = [focal * z * scale for scale in scales for z in zooms] if focal is not None else []
        sane = [f for f in readings if SANE_RATIO[0] <= f / max(size) <= SANE_RATIO[1]]
        if sane:
            return tuple(dict.fromkeys(sane))
    return ()


def _shot(tags: dict[int, object], size: tuple[int, int]) -> tuple[tuple[float, float], list[float]]:
    """Width and height of the shot, px, and the factors by which it may have been reduced to the image, best first."""
    width, height = (_positive(tags.get(tag)) for tag in (Base.ExifImageWidth, Base.ExifImageHeight))
    if width is None or height is None:
        return size, [1.0]
    # Some software swaps width and height when it rotates the pixels. The shape that lost less is the right one.
    shapes = ((width, height), (height, width))
    shot = max(shapes, key=lambda shape: min(size[0] / shape[0], size[1] / shape[1]))
    scale = max(size[0] / shot[0], size[1] / shot[1])  # the least cut that gives the image's shape
    same_shape = abs(size[0] / shot[0] - size[1] / shot[1]) < SAME_SHAPE * scale
    scales = [scale] if same_shape or scale >= 1 else [scale, 1.0]
    return shot, scales


def _from_film(tags: dict[int, object], shot: tuple[float, float]) -> float | None:
    """Focal length in px of the shot."""
    film = _positive(tags.get(Base.FocalLengthIn35mmFilm))
    return None if film is None else film / FILM_DIAGONAL * math.hypot(*shot)


def _from_focal_plane(tags: dict[int, object]) -> float | None:
    """Focal length in px of the shot."""
    length = _positive(tags.get(Base.FocalLength))  # mm
    resolution = _positive(tags.get(Base.FocalPlaneXResolution))  # px per unit
    unit = tags.get(Base.FocalPlaneResolutionUnit, 2)
    if length is None or resolution is None or unit not in UNIT_MM:
        return None
    return length * resolution / UNIT_MM[int(unit)]


def _positive(value: object) -> float | None:
    """A tag's value as a float if it is finite and positive, else None. EXIF uses 0, also 0/0, for unknown."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None
