from pathlib import Path

import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base

from stages.errors import InputError
from stages.files.exif import read_focals


def photograph(path: Path, size: tuple[int, int] = (600, 400), **tags: object) -> Path:
    """A grey JPEG with EXIF tags by name."""
    exif = Image.Exif()
    exif.get_ifd(IFD.Exif).update({int(Base[name]): value for name, value in tags.items()})
    Image.new("RGB", size).save(path, exif=exif)
    return path


def test_35_mm_equivalent(tmp_path: Path) -> None:
    """A 36 mm lens on film sees a 3:2 image as wide as it is far: the focal length is the width."""
    assert read_focals(photograph(tmp_path / "a.jpg", FocalLengthIn35mmFilm=36))[0] == pytest.approx(600)


def test_phone_focal_length(tmp_path: Path) -> None:
    """4.2 mm on 1.4 um pixels is 3000 px; the phone calls it 26 mm, which rounds to within 2 %."""
    path = photograph(tmp_path / "a.jpg", (4032, 3024), FocalLengthIn35mmFilm=26)
    assert read_focals(path) == pytest.approx((3000,), rel=0.02)


@pytest.mark.parametrize(("resolution", "unit"), [(2540.0, 2), (1000.0, 3), (100.0, 4)])
def test_focal_plane_resolution(tmp_path: Path, resolution: float, unit: int) -> None:
    """100 px a mm, stated per inch, centimetre, millimetre."""
    tags = {"FocalLength": 5.0, "FocalPlaneXResolution": resolution, "FocalPlaneResolutionUnit": unit}
    assert read_focals(photograph(tmp_path / "a.jpg", **tags))[0] == pytest.approx(500)


def test_resized_after_the_shot(tmp_path: Path) -> None:
    tags = {"FocalLength": 5.0, "FocalPlaneXResolution": 10000.0, "FocalPlaneResolutionUnit": 3}
    for width, height in ((6000, 4000), (4000, 6000)):
        path = photograph(tmp_path / "a.jpg", **tags, ExifImageWidth=width, ExifImageHeight=height)
        assert read_focals(path)[0] == pytest.approx(500)


def test_a_square_cut_that_exif_shows(tmp_path: Path) -> None:
    """36 mm see a 4000 x 3000 shot under 4160 px. A square keeps them if it was only cut, or was cut and reduced."""
    tags = {"FocalLengthIn35mmFilm": 36, "ExifImageWidth": 4000, "ExifImageHeight": 3000}
    cut = read_focals(photograph(tmp_path / "a.jpg", (3000, 3000), **tags))
    assert cut == pytest.approx((36 / 43.2666 * 5000,), rel=1e-4)
    reduced = read_focals(photograph(tmp_path / "a.jpg", (1080, 1080), **tags))
    assert reduced == pytest.approx((36 / 43.2666 * 5000 * 0.36, 36 / 43.2666 * 5000), rel=1e-4)


def test_a_rotated_or_reduced_shot_is_no_cut(tmp_path: Path) -> None:
    tags = {"FocalLengthIn35mmFilm": 36, "ExifImageWidth": 3000, "ExifImageHeight": 2000}
    for size in ((600, 400), (400, 600), (601, 400)):
        assert read_focals(photograph(tmp_path / "a.jpg", size, **tags)) == pytest.approx((600,), rel=2e-3)


def test_a_digital_zoom_may_be_part_of_the_equivalent_or_not(tmp_path: Path) -> None:
    path = photograph(tmp_path / "a.jpg", FocalLengthIn35mmFilm=36, DigitalZoomRatio=2.0)
    assert read_focals(path) == pytest.approx((1200, 600))
    tags = {"FocalLength": 5.0, "FocalPlaneXResolution": 1000.0, "FocalPlaneResolutionUnit": 3}
    assert read_focals(photograph(tmp_path / "a.jpg", **tags, DigitalZoomRatio=2.0)) == pytest.approx((1000,))
    assert read_focals(photograph(tmp_path / "a.jpg", **tags, DigitalZoomRatio=0.0)) == pytest.approx((500,))


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"FocalLengthIn35mmFilm": 0},
        {"FocalLengthIn35mmFilm": 60000},
        {"FocalLengthIn35mmFilm": 2},
        {"FocalLength": 5.0},
        {"FocalLength": 5.0, "FocalPlaneXResolution": 0.0},
        {"FocalLength": 5.0, "FocalPlaneXResolution": 1e9, "FocalPlaneResolutionUnit": 2},
        {"FocalLength": 5.0, "FocalPlaneXResolution": 2540.0, "FocalPlaneResolutionUnit": 77},
    ],
)
def test_absent_or_absurd_is_none(tmp_path: Path, tags: dict[str, object]) -> None:
    assert read_focals(photograph(tmp_path / "a.jpg", **tags)) == ()


def test_absurd_film_tag_gives_way_to_the_focal_plane(tmp_path: Path) -> None:
    tags = {
        "FocalLengthIn35mmFilm": 1,
        "FocalLength": 5.0,
        "FocalPlaneXResolution": 1000.0,
        "FocalPlaneResolutionUnit": 3,
    }
    assert read_focals(photograph(tmp_path / "a.jpg", **tags))[0] == pytest.approx(500)


def test_damaged_exif_states_nothing(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff junk")
    assert read_focals(tmp_path / "a.jpg") == ()


def test_refuses_what_is_no_photograph(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("text")
    for path in (tmp_path / "a.jpg", tmp_path, tmp_path / "missing.jpg"):
        with pytest.raises(InputError):
            read_focals(path)
