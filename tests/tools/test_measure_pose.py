"""The changed photographs of measure-pose: their K follows what was cut or zoomed."""

import sys
from pathlib import Path

import pytest
import torch

from tests.tools.measure_pose import changed, main


@pytest.mark.parametrize("value", [None, "nothing-here"])
def test_without_a_folder_of_data_the_tool_says_what_to_set(
    value: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["measure_pose.py"])
    monkeypatch.delenv("VIDEOSCENE_DATA", raising=False)
    if value is not None:
        monkeypatch.setenv("VIDEOSCENE_DATA", value)
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "set the environment variable VIDEOSCENE_DATA" in capsys.readouterr().err


def test_the_camera_of_a_changed_photograph_shows_the_same_scene() -> None:
    """A bright spot lies where its ray meets the changed image."""
    h, w = 120, 160
    K = torch.tensor([[100.0, 0, 80], [0, 100, 60], [0, 0, 1]], dtype=torch.float64)
    spot = torch.tensor([66.0, 54.0, 1.0], dtype=torch.float64)
    y, x = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
    image = torch.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / 8).float().expand(3, -1, -1)
    for name, part, part_K in changed(image, K):
        rows, columns = torch.meshgrid(
            torch.arange(part.shape[1]) + 0.5, torch.arange(part.shape[2]) + 0.5, indexing="ij"
        )
        weight = part[0] / part[0].sum()
        found = torch.stack([(weight * columns).sum(), (weight * rows).sum()]).double()
        wanted = (part_K @ torch.linalg.inv(K) @ spot)[:2]
        assert torch.allclose(found, wanted, atol=0.2), name
        assert (part_K[0, 0] > K[0, 0]) == name.startswith("zoom")
