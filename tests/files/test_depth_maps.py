from pathlib import Path

import pytest
import torch
from PIL import Image

from stages.errors import InputError
from stages.files.depth_maps import depth_unit, read_depth, write_depth


def test_round_trip_to_half_a_unit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    depth = torch.rand(20, 30) * 40 + 0.5
    unit = depth_unit(depth)
    write_depth(tmp_path / "d.png", depth, unit)
    again = read_depth(tmp_path / "d.png", unit)
    assert again.dtype == torch.float32
    assert (again - depth).abs().max() <= unit / 2 + 1e-5
    with Image.open(tmp_path / "d.png") as image:
        assert image.mode == "I;16"


def test_second_round_trip_is_exact(tmp_path: Path) -> None:
    depth = torch.randint(0, 65536, (20, 30)) * 0.001
    write_depth(tmp_path / "d.png", depth, 0.001)
    assert torch.equal(read_depth(tmp_path / "d.png", 0.001), (depth.double() / 0.001).round().mul(0.001).float())


def test_unknown_is_zero_and_known_never_is(tmp_path: Path) -> None:
    depth = torch.tensor([[0.0, float("nan"), float("inf"), -1.0, 1e-9, 2.0]])
    write_depth(tmp_path / "d.png", depth, 0.5)
    assert read_depth(tmp_path / "d.png", 0.5).tolist() == [[0, 0, 0, 0, 0.5, 2.0]]
    assert depth_unit(torch.zeros(2, 2)) == 1.0


def test_refuses_depths_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="65536"):
        write_depth(tmp_path / "d.png", torch.full((4, 4), 65536.0), 1.0)
    with pytest.raises(InputError, match="unit"):
        write_depth(tmp_path / "d.png", torch.ones(4, 4), 0.0)
    assert not list(tmp_path.iterdir())


def test_refuses_images_that_are_no_depth_map(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "d.png")
    with pytest.raises(InputError, match="16-bit"):
        read_depth(tmp_path / "d.png", 1.0)
