"""The sheet of depth maps of pairs without cameras."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stages.errors import InputError, RunError
from stages.evaluate.kept_frames import LABEL, MARGIN, RAMP
from stages.files.images import read_image, write_png
from stages.prior.predict import Prediction
from stages.prior.prepare import Prepared
from stages.scene import Cameras, Gaussians, Views
from tests.tools import depth_sheet
from tests.tools.depth_sheet import HEIGHT, find_pairs, main

SIZE = (64, 64)
PHOTOGRAPHS = {"hall": 0.2, "roof": 0.8}  # their grey


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    folder = tmp_path / "pairs"
    for name, grey in PHOTOGRAPHS.items():
        for k in (0, 1):
            write_png(folder / f"{name}_{k}.png", torch.full((3, *SIZE), grey))
    (folder / "pairs_gt.json").write_text("[]")
    return folder


def test_pairs_are_two_pictures_of_one_name(pairs: Path) -> None:
    (pairs / "hall_0.png").rename(pairs / "hall_2.png")
    assert find_pairs(pairs) == {
        "hall": (pairs / "hall_1.png", pairs / "hall_2.png"),
        "roof": (pairs / "roof_0.png", pairs / "roof_1.png"),
    }
    (pairs / "roof_1.png").unlink()
    with pytest.raises(InputError, match="not two pictures of roof"):
        find_pairs(pairs)
    with pytest.raises(InputError, match="no pictures"):
        find_pairs(pairs / "nothing")


def test_depth_maps_of_two_networks_beside_the_photographs(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first network finds everything near, the second far: red and dark on their common scale.

    The cameras of the roof are not found.
    """

    def prepare(paths: tuple[Path, Path]) -> Prepared:
        if paths[0].stem == "roof_0":
            raise RunError("the two photographs do not overlap enough", "7 matches were found", "")
        cameras = Cameras(torch.eye(4).repeat(2, 1, 1), torch.eye(3).repeat(2, 1, 1), SIZE)
        return Prepared(
            Views(torch.stack([read_image(path) for path in paths]), cameras), torch.ones(2, 2), {"matches": 99}
        )

    def predict(views: Views, near_far: Tensor, network: float) -> Prediction:
        empty = Gaussians(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, 1, 3))
        return Prediction(empty, torch.full((2, *SIZE), network), near_far)

    monkeypatch.setattr(depth_sheet, "prepare", prepare)
    monkeypatch.setattr(depth_sheet, "predict", predict)
    monkeypatch.setattr(depth_sheet, "load_prior", lambda path, device: float(str(path)))
    sheet = tmp_path / "sheet.png"
    monkeypatch.setattr(sys, "argv", ["sheet", str(pairs), "-o", str(sheet), "--weights", "2", "--weights", "8"])
    main()
    assert capsys.readouterr().out == f"hall: matches 99\nroof: no cameras: 7 matches were found\n{sheet}\n"
    picture = read_image(sheet)
    middle = [MARGIN + HEIGHT // 2 + k * (HEIGHT + MARGIN) for k in range(6)]
    first, second = (MARGIN + LABEL + HEIGHT // 2 + k * (HEIGHT + LABEL + MARGIN) for k in (0, 1))
    near, far = torch.tensor(RAMP[-1]) / 255, torch.tensor(RAMP[0]) / 255
    grey = torch.full((3,), PHOTOGRAPHS["hall"])
    for x, colour in zip(middle, (grey, grey, near, near, far, far), strict=True):
        torch.testing.assert_close(picture[:, first, x], colour, atol=0.01, rtol=0)
    for x, grey in zip(middle, (PHOTOGRAPHS["roof"],) * 2 + (1.0,) * 4, strict=True):
        torch.testing.assert_close(picture[:, second, x], torch.full((3,), grey), atol=0.01, rtol=0)
