"""What people bring as photographs: the formats of phones, colour profiles, raw files, pixels that are not square."""

import io
import shutil
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from stages.errors import InputError
from stages.files.exif import read_focals
from stages.files.image_decoding import image_size, photographs_in
from stages.files.images import read_image

# 64 x 96, red, green, blue and white quarters, stored on its side with HEIF's mark of the turn; focal length 26 mm.
HEIC = Path(__file__).parent / "data" / "turned.heic"


def profile(red: tuple[float, ...], green: tuple[float, ...], blue: tuple[float, ...], gamma: float) -> bytes:
    """An ICC profile of a matrix and one curve. The primaries are XYZ values under D50."""

    def number(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def xyz(values: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(number, values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + b"\0" * 79
    tags = {b"desc": text, b"cprt": b"text\0\0\0\0CC0\0", b"wtpt": xyz((0.9642, 1, 0.8249))}
    tags |= {b"rXYZ": xyz(red), b"gXYZ": xyz(green), b"bXYZ": xyz(blue), b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    table, data = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(data), len(value))
        data += value + b"\0" * (-len(value) % 4)
    head = struct.pack(">I4sI4s4s4s", 128 + len(table) + len(data), b"\0" * 4, 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += b"\0" * 12 + b"acsp" + b"\0" * 28 + xyz((0.9642, 1, 0.8249))[8:]
    return head.ljust(128, b"\0") + table + data


ADOBE = profile((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457), 2.2)
P3 = profile((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407), 2.2)


@pytest.fixture
def colours() -> Image.Image:
    """Colours well inside sRGB, 60 x 40."""
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(60, 190, (40, 60, 3), dtype=np.uint8))


def levels(path: Path) -> np.ndarray:
    return (read_image(path).permute(1, 2, 0).numpy() * 255).round()


def test_heic_is_read_upright_with_its_focal_length(tmp_path: Path) -> None:
    shutil.copy(HEIC, tmp_path / "IMG_1.HEIC")
    image = read_image(tmp_path / "IMG_1.HEIC")
    corners = image[:, (8, 8, 56), (8, 88, 8)]
    assert image.shape == (3, 64, 96)
    assert torch.allclose(corners, torch.eye(3), atol=0.05)
    assert image_size(HEIC) == (64, 96)
    assert read_focals(HEIC)[0] == pytest.approx(26 / 43.27 * 115.4, rel=1e-3)


def test_a_damaged_heic_says_that_it_is_one(tmp_path: Path) -> None:
    path = tmp_path / "IMG_1.HEIC"
    for data in (HEIC.read_bytes()[:24], HEIC.read_bytes()[:-200]):
        path.write_bytes(data)
        with pytest.raises(InputError) as found:
            read_image(path)
        assert "damaged" in f"{found.value.why} {found.value.hint}"


@pytest.mark.parametrize("icc", [ADOBE, P3], ids=["Adobe RGB", "Display P3"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_of_another_profile_are_converted(tmp_path: Path, colours: Image.Image, icc: bytes, mode: str) -> None:
    srgb = ImageCms.createProfile("sRGB")
    stored = ImageCms.profileToProfile(colours, srgb, ImageCms.ImageCmsProfile(io.BytesIO(icc)), outputMode="RGB")
    assert stored is not None
    stored.convert(mode).save(tmp_path / "a.png", icc_profile=icc)
    assert np.abs(levels(tmp_path / "a.png") - np.asarray(colours, float)).mean() < 0.6
    Image.fromarray(np.asarray(stored)).save(tmp_path / "plain.png")
    assert np.abs(levels(tmp_path / "plain.png") - np.asarray(colours, float)).mean() > 2


def test_a_profile_of_srgb_changes_no_pixel(tmp_path: Path, colours: Image.Image) -> None:
    colours.save(tmp_path / "a.png", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert np.array_equal(levels(tmp_path / "a.png"), np.asarray(colours, float))


@pytest.mark.parametrize("icc", [b"no profile", ADOBE[:200], P3[:40] + P3[200:]])
def test_a_damaged_profile_is_a_warning(tmp_path: Path, colours: Image.Image, icc: bytes) -> None:
    colours.save(tmp_path / "a.png", icc_profile=icc)
    with pytest.warns(UserWarning, match=r"colour profile of .*a\.png"):
        assert np.array_equal(levels(tmp_path / "a.png"), np.asarray(colours, float))


def test_grey_with_a_profile_of_colours_is_read(tmp_path: Path, colours: Image.Image) -> None:
    colours.convert("L").save(tmp_path / "a.png", icc_profile=ADOBE)
    with pytest.warns(UserWarning, match="another mode"):
        assert np.array_equal(levels(tmp_path / "a.png")[..., 0], np.asarray(colours.convert("L"), float))


@pytest.mark.parametrize(
    "tags", [{50706: b"\1\4\0\0"}, {254: 1, 330: 8}, {262: 32803}], ids=["DNG", "thumbnail", "sensor"]
)
def test_a_raw_file_is_refused_by_its_tags(tmp_path: Path, tags: dict[int, object]) -> None:
    """Whatever its ending, its first image is no photograph."""
    path = tmp_path / "a.tif"
    Image.new("RGB", (64, 48)).save(path)
    with Image.open(path) as image:
        directory = image.tag_v2  # type: ignore[attr-defined]
        for tag, value in tags.items():
            directory.tagtype[tag] = 1 if isinstance(value, bytes) else 4
            directory[tag] = value
        if 262 in tags:  # Pillow does not write such a file: its own tag is replaced in the bytes
            path.write_bytes(
                path.read_bytes().replace(struct.pack("<HHII", 262, 3, 1, 2), struct.pack("<HHII", 262, 3, 1, 32803))
            )
        else:
            image.save(path, tiffinfo=directory)
    with pytest.raises(InputError) as found:
        read_image(path)
    assert "raw" in found.value.why or "cannot be decoded" in found.value.why


@pytest.mark.parametrize("name", ["a.NEF", "a.cr3", "a.dng"])
def test_a_raw_file_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / name, format="TIFF")
    with pytest.raises(InputError, match="raw file"):
        read_image(tmp_path / name)


@pytest.mark.parametrize(("ending", "density"), [(".jpg", (72, 96)), (".png", (3780, 2835)), (".tif", (300, 225))])
def test_pixels_that_are_not_square_are_refused(tmp_path: Path, ending: str, density: tuple[int, int]) -> None:
    path = tmp_path / f"a{ending}"
    Image.new("RGB", (64, 48)).save(path, dpi=density)
    with pytest.raises(InputError, match=r"(0\.75|1\.33) times as wide"):
        read_image(path)
    for harmless in ((72, 72), (300, 299), (72, 1)):
        Image.new("RGB", (64, 48)).save(path, dpi=harmless)
        assert read_image(path).shape == (3, 48, 64)


def test_a_folder_shows_its_photographs_of_every_format_and_no_hidden_file(tmp_path: Path) -> None:
    names = ["a.bmp", "b.HEIC", "c.avif", "d.jp2", "e.gif", "f.JPG", "g.webp", "h.tiff"]
    for name in [*names, "._f.JPG", ".hidden.png", "notes.txt", "walk.mp4"]:
        (tmp_path / name).touch()
    assert [path.name for path in photographs_in(tmp_path)] == names


@pytest.mark.parametrize("ending", [".bmp", ".avif", ".jp2", ".gif"])
def test_every_format_of_a_folder_is_read(tmp_path: Path, ending: str, colours: Image.Image) -> None:
    colours.save(tmp_path / f"a{ending}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(tmp_path / f"a{ending}").shape == (3, 40, 60)
