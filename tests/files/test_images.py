import contextlib
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stages.errors import InputError, RunError
from stages.files.image_decoding import MAX_PIXELS
from stages.files.images import as_in_png, fit, read_gray, read_image, write_gray_png, write_png
from stages.geometry import project

QUADRANTS = np.zeros((40, 60, 3), np.uint8)  # red, green, blue, white: any turn or mirror moves them
QUADRANTS[:20, :30], QUADRANTS[:20, 30:], QUADRANTS[20:, :30], QUADRANTS[20:, 30:] = (
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 255, 255),
)


def fit_image(image: torch.Tensor, short_side: int) -> torch.Tensor:
    return fit(image, torch.eye(3), short_side)[0]


def png(path: Path, width: int, height: int, bits: int, color: int, rows: bytes) -> Path:
    """A PNG of any header, written by hand."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return path


def test_png_round_trip_is_exact(tmp_path: Path, levels: torch.Tensor) -> None:
    write_png(tmp_path / "new" / "a.png", levels[0])
    image = read_image(tmp_path / "new" / "a.png")
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    assert torch.equal(image, levels[0])
    write_gray_png(tmp_path / "b.png", levels[0, 0])
    assert torch.equal(read_gray(tmp_path / "b.png"), levels[0, 0])


def test_write_rounds_and_clamps(tmp_path: Path) -> None:
    values = torch.tensor([-0.5, 0.4 / 255, 0.6 / 255, 2.0]).repeat(40, 10)
    write_png(tmp_path / "a.png", values.expand(3, -1, -1))
    assert (read_image(tmp_path / "a.png")[0, 0, :4] * 255).round().tolist() == [0, 0, 1, 255]


def test_write_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="NaN"):
        write_png(tmp_path / "a.png", torch.full((3, 32, 32), float("nan")))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("orientation", "back"), [(1, []), (3, [180]), (6, [-90]), (8, [90])])
def test_exif_rotation(tmp_path: Path, orientation: int, back: list[int]) -> None:
    """A photograph stored turned, with the tag that turns it back, reads like the upright one."""
    stored = Image.fromarray(QUADRANTS)
    for angle in back:
        stored = stored.rotate(-angle, expand=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    assert torch.equal(read_image(tmp_path / "a.png"), torch.from_numpy(QUADRANTS).permute(2, 0, 1) / 255.0)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "CMYK", "RGBA", "I;16"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    """Black and white survive every mode exactly."""
    black_white = np.kron(np.array([[0, 255], [255, 0]]), np.ones((20, 20))).astype(np.uint8)
    image = (
        Image.fromarray(black_white.astype(np.uint16) * 257)
        if mode == "I;16"
        else Image.fromarray(black_white).convert(mode)
    )
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    assert torch.equal(read_image(path), torch.from_numpy(black_white).expand(3, -1, -1) / 255.0)


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.fromarray(QUADRANTS).quantize(4)
    image.save(tmp_path / "a.png", transparency=0)
    assert torch.equal(read_image(tmp_path / "a.png"), torch.from_numpy(QUADRANTS).permute(2, 0, 1) / 255.0)


def test_alpha_is_dropped_not_blended(tmp_path: Path) -> None:
    colour = np.full((32, 32, 4), (200, 100, 50, 0), np.uint8)
    Image.fromarray(colour).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png")[:, 0, 0] * 255).round().tolist() == [200, 100, 50]


def test_16_bit_grey_keeps_its_bits(tmp_path: Path) -> None:
    grey = np.linspace(0, 65535, 32 * 64).reshape(32, 64).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "a.png")
    (tmp_path / "a.pgm").write_bytes(b"P5\n64 32\n65535\n" + grey.astype(">u2").tobytes())
    for name in ("a.png", "a.pgm"):
        assert torch.allclose(
            read_image(tmp_path / name), torch.from_numpy(grey / 65535.0).float().expand(3, -1, -1), atol=1e-6
        )


@pytest.mark.parametrize("color", [2, 6])
def test_16_bit_colour_is_right_to_a_level(tmp_path: Path, color: int) -> None:
    channels = 3 if color == 2 else 4
    values = np.random.default_rng(0).integers(0, 65536, (32, 32, channels)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    image = read_image(png(tmp_path / "a.png", 32, 32, 16, color, rows))
    assert (image - torch.from_numpy(values[..., :3].astype(np.float32) / 65535).permute(2, 0, 1)).abs().max() < 1 / 256


def test_jpeg_is_read(tmp_path: Path) -> None:
    Image.fromarray(QUADRANTS).save(tmp_path / "a.jpg", quality=95)
    image = read_image(tmp_path / "a.jpg")
    assert image.shape == (3, 40, 60)
    assert (image[:, 10, 10] - torch.tensor([1.0, 0, 0])).abs().max() < 0.03


@pytest.mark.parametrize("suffix", ["bmp", "gif", "jp2", "mpo", "ppm", "tif", "webp"])
def test_other_formats_are_read(tmp_path: Path, suffix: str) -> None:
    options: dict[str, bool] = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(QUADRANTS).save(tmp_path / f"a.{suffix}", **options)
    assert (
        read_image(tmp_path / f"a.{suffix}") - torch.from_numpy(QUADRANTS).permute(2, 0, 1) / 255.0
    ).abs().mean() < 0.02


def refused(path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        read_image(path)
    for line in (caught.value.what, caught.value.why, caught.value.hint):
        assert line
        assert "\n" not in line
    return caught.value


def test_refuses_what_is_no_photograph(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "missing.png").why
    assert "folder" in refused(tmp_path).why
    (tmp_path / "text.png").write_text("not an image")
    assert "not an image" in refused(tmp_path / "text.png").why
    (tmp_path / "empty.png").write_bytes(b"")
    refused(tmp_path / "empty.png")
    (tmp_path / "a.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n")
    assert "PostScript" in refused(tmp_path / "a.eps").why
    refused(tmp_path / "nul\0.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "bmp"])
@pytest.mark.parametrize("keep", [0.05, 0.5, 0.9])
def test_refuses_files_that_are_cut_off(tmp_path: Path, suffix: str, keep: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    refused(path)


def test_refuses_random_damage_with_input_error_only(tmp_path: Path) -> None:
    """Whatever bytes are flipped, the image is read or refused; nothing else is raised."""
    random = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    for suffix in ("png", "jpg", "tif", "gif"):
        Image.fromarray(QUADRANTS).save(tmp_path / f"a.{suffix}", **({} if suffix == "gif" else {"exif": exif}))
        original = np.frombuffer((tmp_path / f"a.{suffix}").read_bytes(), np.uint8)
        for _ in range(40):
            damaged = original.copy()
            damaged[random.integers(0, min(len(damaged), 300), 4)] = random.integers(0, 256, 4)
            (tmp_path / "b").write_bytes(damaged.tobytes())
            with contextlib.suppress(InputError):
                assert read_image(tmp_path / "b").shape[0] == 3


def test_refuses_images_of_a_wrong_size(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    assert "1 x 1" in refused(tmp_path / "dot.png").why
    bomb = png(tmp_path / "bomb.png", 20_000, 20_000, 8, 2, b"")
    assert f"{MAX_PIXELS // 10**6} million" in refused(bomb).why
    refused(png(tmp_path / "larger.png", 2_000_000, 2_000_000, 8, 2, b""))


def test_refuses_images_without_a_white_level(tmp_path: Path) -> None:
    for values in (np.ones((40, 40), np.float32), np.ones((40, 40), np.int32)):
        Image.fromarray(values).save(tmp_path / "a.tif")
        assert "32 bits" in refused(tmp_path / "a.tif").why


@pytest.mark.parametrize(
    ("size", "short", "expected"),
    [((480, 720), 256, (256, 384)), ((756, 1008), 256, (256, 336)), ((40, 50), 64, (64, 80))],
)
def test_fit_sizes(size: tuple[int, int], short: int, expected: tuple[int, int]) -> None:
    assert fit_image(torch.rand(3, *size), short).shape == (3, *expected)


def test_fit_keeps_points_where_they_are() -> None:
    """A bright disc at the projection of a 3D point is still there after the fit, by the K that fit returns."""
    K = torch.tensor([[500.0, 0, 505.3], [0, 510.0, 381.1], [0, 0, 1]], dtype=torch.float64)
    point = torch.tensor([[0.2, -0.1, 1.0]], dtype=torch.float64)
    eye = torch.eye(4, dtype=torch.float64)

    def disc(K: torch.Tensor, size: tuple[int, int], radius: float) -> torch.Tensor:
        x, y = project(point, K, eye)[0][0]
        rows, columns = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing="ij")
        return torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * radius**2)).float()

    image, fitted = fit(disc(K, (757, 1011), 20).expand(3, -1, -1), K, 256)
    expected = disc(fitted, (image.shape[1], image.shape[2]), 20 * 256 / 757)
    assert (image[0] - expected).abs().max() < 0.01


def test_fit_is_antialiased_and_stays_in_range() -> None:
    noise = torch.rand(3, 512, 512)
    image = fit_image(noise, 64)
    assert image.std() < noise.std() / 4  # a mean over 8 x 8 pixels; without antialiasing it would stay above 1 / 2
    edge = torch.zeros(3, 64, 64)
    edge[:, :, 32:] = 1
    image = fit_image(edge, 160)
    assert image.min() >= 0
    assert image.max() <= 1


def test_fit_leaves_the_right_size_alone() -> None:
    image = torch.rand(3, 64, 96)
    assert torch.equal(fit_image(image, 64), image)


def test_fit_refuses_sizes_of_nothing_and_of_everything() -> None:
    with pytest.raises(InputError, match="short side"):
        fit_image(torch.rand(3, 64, 64), 8)
    with pytest.raises(InputError, match="pixels"):
        fit_image(torch.rand(3, 32, 64), 200_000)


def test_as_in_png_is_what_eight_bits_hold() -> None:
    frames = torch.tensor([-0.2, 0.0, 0.4999 / 255, 0.5001 / 255, 1.7])
    torch.testing.assert_close(as_in_png(frames), torch.tensor([0, 0, 0, 1 / 255, 1.0]))
