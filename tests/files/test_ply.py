from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData, PlyElement

from stages.errors import InputError
from stages.files.ply import as_in_ply, property_names, read_ply, write_ply, write_points
from stages.scene import Gaussians


def same(a: Gaussians, b: Gaussians) -> None:
    """Equal to the rounding of float32 in the logit and the logarithm; means and colours exactly."""
    assert torch.equal(a.means, b.means)
    assert torch.equal(a.sh, b.sh)
    assert torch.allclose(a.scales, b.scales, rtol=1e-6, atol=0)
    assert torch.allclose(a.opacities, b.opacities, rtol=0, atol=1e-6)
    assert torch.allclose(a.quats, b.quats, rtol=0, atol=1e-6)


def test_round_trip(tmp_path: Path, gaussians: Gaussians) -> None:
    write_ply(tmp_path / "new" / "g.ply", gaussians, [])
    again = read_ply(tmp_path / "new" / "g.ply")
    assert again.means.dtype == torch.float32
    assert again.sh_degree == gaussians.sh_degree
    same(again, gaussians)


def test_a_standard_library_reads_the_3dgs_layout(tmp_path: Path, gaussians: Gaussians) -> None:
    """By plyfile, with the activations and the order of channels that 3D Gaussian Splatting itself uses on loading."""
    write_ply(tmp_path / "g.ply", gaussians, ["seed 0", "two\nlines", "caf\u00e9"])
    data = PlyData.read(tmp_path / "g.ply")
    assert [element.name for element in data.elements] == ["vertex"]
    assert data.comments == ["seed 0", "two", "lines", "caf\\xe9"]
    vertex = data["vertex"]
    bands = gaussians.sh.shape[1]
    assert [p.name for p in vertex.properties] == property_names(3 * (bands - 1))
    assert all(p.val_dtype == "f4" for p in vertex.properties)

    def columns(prefix: str, count: int) -> torch.Tensor:
        return torch.from_numpy(np.stack([np.asarray(vertex[f"{prefix}{i}"]) for i in range(count)], 1))

    rest = (
        columns("f_rest_", 3 * (bands - 1)).reshape(100, 3, bands - 1).transpose(1, 2)
        if bands > 1
        else torch.zeros(100, 0, 3)
    )
    same(
        Gaussians(
            torch.from_numpy(np.stack([vertex[axis] for axis in "xyz"], 1)),
            columns("scale_", 3).exp(),
            columns("rot_", 4),
            torch.from_numpy(np.array(vertex["opacity"])).sigmoid(),
            torch.cat([columns("f_dc_", 3)[:, None], rest], 1),
        ),
        gaussians,
    )
    assert all(not np.any(vertex[n]) for n in ("nx", "ny", "nz"))


def random_gaussians(count: int) -> Gaussians:
    generator = torch.Generator().manual_seed(3)
    means, scales, quats = (torch.randn(count, width, generator=generator) for width in (3, 3, 4))
    opacities = torch.rand(count, generator=generator)
    opacities[:2] = torch.tensor([0.0, 1.0])
    return Gaussians(means, (3 * scales).exp(), quats, opacities, torch.randn(count, 4, 3, generator=generator))


def test_what_a_ply_gives_back_is_known_without_a_file_and_stays_the_same_from_then_on(tmp_path: Path) -> None:
    known = as_in_ply(random_gaussians(20_000))
    write_ply(tmp_path / "g.ply", known, [])
    again = read_ply(tmp_path / "g.ply")
    for name in ("means", "scales", "quats", "opacities", "sh"):
        assert torch.equal(getattr(again, name), getattr(known, name)), name


def test_a_ply_says_which_photograph_each_gaussian_comes_from(tmp_path: Path, gaussians: Gaussians) -> None:
    photograph = (torch.arange(len(gaussians)) >= 30).to(torch.uint8)
    write_ply(tmp_path / "g.ply", replace(gaussians, photograph=photograph), ["seed 0"])
    assert "photographs 30 70" in PlyData.read(tmp_path / "g.ply").comments
    again = read_ply(tmp_path / "g.ply").photograph
    assert again is not None
    assert torch.equal(again, photograph)
    write_ply(tmp_path / "one.ply", gaussians, ["seed 0"])
    assert read_ply(tmp_path / "one.ply").photograph is None


@pytest.mark.parametrize("said", ["30", "30 71", "30 70 0", "-30 130", "x y", "999999999999999999999 1"])
def test_counts_of_photographs_that_do_not_fit_are_refused(tmp_path: Path, gaussians: Gaussians, said: str) -> None:
    write_ply(tmp_path / "g.ply", gaussians, [f"photographs {said}"])
    with pytest.raises(InputError, match="photographs"):
        read_ply(tmp_path / "g.ply")


def test_limits_stay_finite(tmp_path: Path) -> None:
    opacities = torch.tensor([0.0, 1.0, 0.5])
    scales = torch.tensor([0.0, 1e-30, 1e30])[:, None].expand(3, 3)
    write_ply(
        tmp_path / "g.ply",
        Gaussians(torch.zeros(3, 3), scales, torch.ones(3, 4) * 9, opacities, torch.zeros(3, 1, 3)),
        [],
    )
    again = read_ply(tmp_path / "g.ply")
    assert torch.allclose(again.opacities, opacities, atol=1e-9)
    assert again.opacities[1] == 1
    assert torch.allclose(again.scales, scales, rtol=1e-5, atol=1e-37)
    assert torch.allclose(again.quats, torch.full((3, 4), 0.5))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"means": torch.full((2, 3), float("nan"))}, "NaN"),
        ({"scales": torch.full((2, 3), -1.0)}, "scale"),
        ({"opacities": torch.full((2,), 1.5)}, "opacity"),
        ({"quats": torch.zeros(2, 4)}, "length 0"),
    ],
)
def test_refuses_to_write_nonsense(tmp_path: Path, change: dict[str, torch.Tensor], why: str) -> None:
    fields = {
        "means": torch.zeros(2, 3),
        "scales": torch.ones(2, 3),
        "quats": torch.ones(2, 4),
        "opacities": torch.ones(2),
    }
    with pytest.raises(InputError, match=why):
        write_ply(tmp_path / "g.ply", Gaussians(**(fields | change), sh=torch.zeros(2, 1, 3)), [])
    assert not list(tmp_path.iterdir())


def test_refuses_to_write_nothing(tmp_path: Path) -> None:
    nothing = Gaussians(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, 1, 3))
    with pytest.raises(InputError, match="no Gaussians"):
        write_ply(tmp_path / "g.ply", nothing, [])


@pytest.mark.parametrize("number", ["f4", "f8"])
def test_reads_other_orders_types_and_extras(tmp_path: Path, gaussians: Gaussians, number: str) -> None:
    """Shuffled properties, no normals, a property and an element of somebody else's, float64."""
    write_ply(tmp_path / "g.ply", gaussians, [])
    vertex = PlyData.read(tmp_path / "g.ply")["vertex"]
    names = [p.name for p in vertex.properties if p.name not in ("nx", "ny", "nz")]
    np.random.default_rng(0).shuffle(names)
    table = np.zeros(100, dtype=[("red", "u1")] + [(name, number) for name in names])
    for name in names:
        table[name] = vertex[name]
    camera = np.zeros(2, dtype=[("f", "f4")])
    PlyData([PlyElement.describe(table, "vertex"), PlyElement.describe(camera, "camera")], byte_order="<").write(
        tmp_path / "other.ply"
    )
    same(read_ply(tmp_path / "other.ply"), read_ply(tmp_path / "g.ply"))


NAMES = property_names(0)


def ply(path: Path, header: str | None = None, rows: bytes | None = None, **change: str) -> Path:
    """A PLY of two Gaussians at 0, with parts of its header replaced."""
    parts = {
        "format": "format binary_little_endian 1.0",
        "element": "element vertex 2",
        "names": " ".join(NAMES),
    } | change
    lines = [
        "ply",
        parts["format"],
        parts["element"],
        *(f"property float {name}" for name in parts["names"].split()),
        "end_header",
        "",
    ]
    table = np.ones((2, len(NAMES)), "<f4").tobytes()
    path.write_bytes(("\n".join(lines) if header is None else header).encode() + (table if rows is None else rows))
    return path


def test_the_base_of_the_hostile_files_is_fine(tmp_path: Path) -> None:
    assert len(read_ply(ply(tmp_path / "g.ply"))) == 2
    (tmp_path / "crlf.ply").write_bytes((tmp_path / "g.ply").read_bytes().replace(b"\n", b"\r\n"))
    assert len(read_ply(tmp_path / "crlf.ply")) == 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"element": "element vertex 1000000000000"}, "early end-of-file"),
        ({"element": "element vertex 99999999999999999999999"}, "index-sized"),
        ({"element": "element vertex -2"}, "negative"),
        ({"element": "element vertex 0"}, "there are none"),
        ({"element": "element vertex"}, "{count}"),
        ({"element": "element vertex \u0662"}, "ascii"),
        ({"element": "element chunk 2"}, "not vertex"),
        ({"element": ""}, "line 3"),
        ({"format": "format ascii 1.0"}, "it holds text"),
        ({"format": "format binary_big_endian 1.0"}, "big-endian"),
        ({"format": "comment none"}, "it holds text"),
        ({"names": "x y z"}, "it has no f_dc_0"),
        ({"names": " ".join(NAMES[:-1])}, "it has no rot_3"),
        ({"names": " ".join([*NAMES, "x"])}, "two properties"),
        ({"names": " ".join([*NAMES, "f_rest_0"]), "element": "element vertex 1"}, "1 f_rest"),
        ({"names": ""}, "it has no x"),
    ],
)
def test_refuses_hostile_headers(tmp_path: Path, change: dict[str, str], why: str) -> None:
    with pytest.raises(InputError) as caught:
        read_ply(ply(tmp_path / "g.ply", **change))
    assert why in caught.value.why
    assert "\n" not in caught.value.why


@pytest.mark.parametrize(
    "header",
    [
        "",
        "ply",
        "PK\x03\x04",
        "ply\nformat binary_little_endian 1.0\nelement vertex 2\nproperty float x\n",
        "ply\nformat binary_little_endian 1.0\nelement vertex 2\nproperty list uchar int x\nend_header\n",
        "ply\nformat binary_little_endian 1.0\nelement vertex 2\nproperty object x\nend_header\n",
        "ply\nformat binary_little_endian 1.0\nelement vertex 9999999999\nproperty\x1clist uchar int x\nend_header\n",
        "ply\nformat binary_little_endian 1.0\nelement vertex 2\nelement vertex 2\nproperty float x\nend_header\n",
        "ply\nformat ascii 1.0\ncomment\rformat binary_little_endian 1.0\n"
        "element vertex 2\nproperty float x\nend_header\n",
        "ply\nformat binary_little_endian 1.0\n" + "comment padding\n" * 9000 + "element vertex 2\nend_header\n",
    ],
)
def test_refuses_files_without_a_proper_header(tmp_path: Path, header: str) -> None:
    with pytest.raises(InputError):
        read_ply(ply(tmp_path / "g.ply", header=header))


def test_refuses_files_cut_off_and_values_that_are_not_finite(tmp_path: Path) -> None:
    full = np.ones((2, len(NAMES)), "<f4")
    with pytest.raises(InputError, match="early end-of-file"):
        read_ply(ply(tmp_path / "g.ply", rows=full.tobytes()[:-1]))
    for column, value in ((0, np.nan), (NAMES.index("scale_0"), 1e4), (NAMES.index("opacity"), np.nan)):
        bad = full.copy()
        bad[1, column] = value
        with pytest.raises(InputError, match="NaN"):
            read_ply(ply(tmp_path / "g.ply", rows=bad.tobytes()))
    with pytest.raises(InputError, match="length 0"):
        read_ply(ply(tmp_path / "g.ply", rows=(full * 0).tobytes()))
    with pytest.raises(InputError, match="no such file"):
        read_ply(tmp_path / "missing.ply")


def test_harmonics_of_a_higher_degree_are_written_as_0(tmp_path: Path, gaussians: Gaussians) -> None:
    """For readers that insist on degree 3."""
    if gaussians.sh.shape[1] > 16:
        pytest.skip("degree 4 is above 3 already")
    write_ply(tmp_path / "a.ply", gaussians, [], degree=3)
    again = read_ply(tmp_path / "a.ply")
    own = gaussians.sh.shape[1]
    assert again.sh.shape[1:] == (16, 3)
    assert torch.equal(again.sh[:, :own], gaussians.sh)
    assert not again.sh[:, own:].any()


def test_points_are_rows_of_position_and_colour(tmp_path: Path) -> None:
    from plyfile import PlyData

    points, colours = torch.randn(7, 3), torch.rand(7, 3)
    write_points(tmp_path / "new" / "p.ply", points, colours, ["of a test"])
    vertices = PlyData.read(tmp_path / "new" / "p.ply")["vertex"].data
    assert vertices.dtype == np.dtype(
        [*((axis, "<f4") for axis in "xyz"), *((name, "u1") for name in ("red", "green", "blue"))]
    )
    assert np.array_equal(np.stack([vertices[axis] for axis in "xyz"], 1), points.numpy())
    assert np.array_equal(vertices["red"], (colours[:, 0] * 255).round().byte().numpy())
