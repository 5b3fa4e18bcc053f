"""The small formats hold the same Gaussians, as far as their bits go."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stages.errors import InputError
from stages.files.ply import read_ply
from stages.reconstruct.viewer_formats import export
from stages.scene import Cameras, Gaussians

CAMERA = Cameras(torch.eye(4)[None], torch.tensor([[[50.0, 0, 32], [0, 50, 24], [0, 0, 1]]]), (48, 64))


def scene(count: int) -> Gaussians:
    g = torch.Generator().manual_seed(0)
    quats = torch.nn.functional.normalize(torch.randn(count, 4, generator=g), dim=-1)
    means, scales, sh = (torch.rand(count, *shape, generator=g) for shape in ((3,), (3,), (1, 3)))
    return Gaussians(
        means * 4 - 2, 0.01 + 0.1 * scales, quats, torch.rand(count, generator=g).clamp(0.05, 0.95), sh - 0.5
    )


def by_x(means: np.ndarray) -> np.ndarray:
    return np.argsort(means[:, 0])


def test_a_splat_file_has_32_bytes_a_gaussian(tmp_path: Path) -> None:
    g = scene(300)
    path = export(tmp_path, g, CAMERA, "splat")
    layout = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("colour", "u1", 4), ("rotation", "u1", 4)])
    table = np.fromfile(path, layout)
    assert len(table) == 300
    table = table[by_x(table["mean"])]
    order = by_x(g.means.numpy())
    assert np.array_equal(table["mean"], g.means.numpy()[order])
    assert np.allclose(table["scale"], g.scales.numpy()[order], rtol=1e-5)
    colour = (0.5 + 0.28209479 * g.sh[:, 0]).clamp(0, 1).numpy()[order]
    assert np.abs(table["colour"][:, :3] / 255 - colour).max() < 0.005
    assert np.abs(table["colour"][:, 3] / 255 - g.opacities.numpy()[order]).max() < 0.005
    quats = (table["rotation"].astype(np.float32) - 128) / 128
    assert np.abs((quats * g.quats.numpy()[order]).sum(1)).min() > 0.98


@pytest.mark.parametrize("count", [600, 257])
def test_a_compressed_ply_has_the_same_positions(tmp_path: Path, count: int) -> None:
    g = scene(count)
    data = export(tmp_path, g, CAMERA, "compressed-ply").read_bytes()
    header, body = data.split(b"end_header\n", 1)
    kept = count if count % 256 != 1 else count - 1
    chunks = -(-kept // 256)
    assert f"element chunk {chunks}\n".encode() in header
    assert f"element vertex {kept}\n".encode() in header
    bounds = np.frombuffer(body, "<f4", chunks * 18).reshape(chunks, 18)
    packed = np.frombuffer(body, "<u4", kept * 4, chunks * 72).reshape(kept, 4)[:, 0]
    unit = np.stack([(packed >> 21) / 2047, ((packed >> 11) & 1023) / 1023, (packed & 2047) / 2047], 1)
    own = bounds[np.arange(kept) // 256]
    means = own[:, :3] + unit * (own[:, 3:6] - own[:, :3])
    distance = torch.cdist(torch.from_numpy(means).float(), g.means).amin(1)
    assert float(distance.max()) < 4 / 1023 * 3**0.5
    assert len(body) == chunks * 72 + kept * 16


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no export format 'obj'"):
        export(tmp_path, scene(3), CAMERA, "obj")


def test_a_compressed_ply_lists_no_element_without_properties(tmp_path: Path) -> None:
    """splat-transform refuses a file with one; gsplat's exporter writes one where there are no harmonics."""
    header = export(tmp_path, scene(300), CAMERA, "compressed-ply").read_bytes().split(b"end_header\n")[0].decode()
    elements = [block.splitlines() for block in header.split("element ")[1:]]
    assert [lines[0].split()[0] for lines in elements] == ["chunk", "vertex"]
    assert all(len(lines) > 1 for lines in elements)


def test_a_ply_of_degree_3_has_all_its_harmonics(tmp_path: Path) -> None:
    g = read_ply(export(tmp_path, scene(300), CAMERA, "sh3-ply"))
    assert g.sh.shape == (300, 16, 3)
