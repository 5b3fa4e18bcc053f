"""--keep and the sheets of --report: everything of a case on one picture."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from stages.evaluate.kept_frames import LABEL, MARGIN, RAMP, TILE, colours, compose
from stages.files.depth_maps import read_depth
from stages.files.images import read_image
from videoscene_cli import app


def test_sheets_of_kept_frames(
    wall: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("stages.prior.pose.matched_points", lambda images, cameras: torch.zeros(0, 3))
    monkeypatch.setattr("stages.prior.pose.range_of_points", lambda points, cameras: torch.tensor([[1.5, 6.0]] * 2))
    out = tmp_path / "out"
    command = [
        "evaluate",
        "--two-view",
        str(wall()),
        "--method",
        "plane-sweep",
        "--method",
        "crossfade",
        "--keep",
        "-o",
        str(out),
    ]
    assert app.run(command) == 0
    depth = read_depth(out / "frames" / "plane-sweep" / "wall-0000-0004" / "depth" / "0001.png", 1)
    assert float(depth[depth > 0].median() / depth.max()) > 0.1
    assert not (out / "frames" / "crossfade" / "wall-0000-0004" / "depth").exists()
    assert torch.equal(
        read_image(out / "frames" / "truth" / "wall-0000-0004" / "frames" / "0001.png"),
        read_image(tmp_path / "scenes" / "wall" / "images" / "0002.png"),
    )
    capsys.readouterr()
    assert app.run(["evaluate", "--report", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out / "sheets.md")
    assert (out / "sheets.md").read_text().count("![wall-") == 2
    rows = 2 + 3 + 2  # photographs, truth; frames, error and depth of one method, frames and error of the other
    assert read_image(out / "sheets" / "wall-0000-0004.png").shape[1] == MARGIN + rows * (TILE + LABEL + MARGIN)


def test_depth_in_colours() -> None:
    near_to_far = torch.tensor([[1.0, 2.0, 4.0, 0.0]])
    picture = colours([near_to_far])[0]
    assert picture.shape == (3, 1, 4)
    torch.testing.assert_close(picture[:, 0, 0], torch.tensor(RAMP[-1]) / 255, atol=0.05, rtol=0)
    torch.testing.assert_close(picture[:, 0, 2], torch.tensor(RAMP[0]) / 255, atol=0.05, rtol=0)
    assert float(picture[:, 0, 3].max()) == 0
    assert float(colours([torch.zeros(2, 2)])[0].max()) == 0


def test_pictures_are_placed_in_rows() -> None:
    red, blue = (torch.tensor(colour).view(3, 1, 1).expand(3, 10, 20) for colour in ((1.0, 0, 0), (0, 0, 1.0)))
    made = compose([("one", [red]), ("two", [red, blue])])
    assert made.shape == (3, MARGIN + 2 * (TILE + LABEL + MARGIN), MARGIN + 2 * (2 * TILE + MARGIN))
    second = made[:, MARGIN + LABEL + TILE + MARGIN + LABEL + TILE // 2]
    assert second[:, TILE].tolist() == [1, 0, 0]
    assert second[:, 3 * TILE].tolist() == [0, 0, 1]
