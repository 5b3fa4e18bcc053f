"""The report of depth on posed scenes: its figures, its comparisons, what it says of scenes with few points."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stages.errors import InputError
from stages.files.images import read_image
from stages.geometry import unproject
from stages.prior.predict import Prediction
from stages.scene import Cameras, Gaussians, Views
from tests.tools import measure_real_depth
from tests.tools.conftest import write_scene
from tests.tools.depth_at_points import Figures
from tests.tools.measure_real_depth import lines, main, read_report, require_same_points
from tests.tools.true_points import TruePoints

DEPTH, SIZE = 4.0, (48, 64)


@pytest.fixture
def cameras() -> Cameras:
    c2w = torch.eye(4, dtype=torch.float64).repeat(3, 1, 1)
    c2w[:, 0, 3] = torch.tensor([0.0, 0.4, 0.2])
    K = torch.tensor([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]], dtype=torch.float64)
    return Cameras(c2w, K.repeat(3, 1, 1), SIZE)


def measured(monkeypatch: pytest.MonkeyPatch, scenes: Path, out: Path, *more: str) -> None:
    monkeypatch.setattr(sys, "argv", ["measure", str(scenes), "-o", str(out), *more])
    main()


@pytest.fixture
def scenes(tmp_path: Path, cameras: Cameras, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two scenes of one wall: `many` with 192 known points, `few` with 4 of them. The second photograph misses a strip.

    The network's name is the factor by which its depth is wrong.
    """
    folder = tmp_path / "scenes"
    images = torch.rand(3, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    for name in ("many", "few"):
        write_scene(folder / name, Views(images, cameras))
    wall = unproject(torch.full(SIZE, DEPTH, dtype=torch.float64), cameras.K[0], cameras.c2w[0])[2::4, 2::4].reshape(
        -1, 3
    )

    def known(scene: Path, cases: object, kept: Path) -> TruePoints:
        xyz = wall if scene.name == "many" else wall[:4]
        # The second photograph stands 6 px to the right: it does not see the first two columns of points.
        rows = [(k, frame) for k in range(len(xyz)) for frame in ((0, 1) if k % 16 > 1 else (0,))]
        return TruePoints(xyz, torch.tensor(rows))

    def predict(views: Views, near_far: Tensor, network: float) -> Prediction:
        empty = Gaussians(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, 1, 3))
        return Prediction(empty, torch.full((2, *SIZE), DEPTH * network), near_far)

    monkeypatch.setattr(measure_real_depth, "cached_points", known)
    monkeypatch.setattr(measure_real_depth, "predict", predict)
    monkeypatch.setattr(measure_real_depth, "match_views", lambda views: (views, torch.tensor([[2.0, 8.0]] * 2)))
    monkeypatch.setattr(measure_real_depth, "load_prior", lambda path, device: float(str(path)))
    return folder


def test_the_report_has_the_errors_of_the_depth(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    measured(monkeypatch, scenes, out, "--weights", "1.1", "--weights", "1.5", "--sheet", str(tmp_path / "sheet.png"))
    report = json.loads((out / "report.json").read_text())["networks"]
    assert list(report) == ["1.1", "1.5"]
    assert report["1.1"]["many"]["all"] == pytest.approx(
        {"points": 192 + 168, "median": 0.1, "mean": 0.1, "within 5 %": 0, "within 25 %": 1}, abs=1e-6
    )
    assert report["1.5"]["many"]["seen by both"]["points"] == 2 * 168
    assert report["1.5"]["many"]["seen by one only"]["median"] == pytest.approx(0.5)
    printed = capsys.readouterr().out
    assert printed.endswith("scenes with too few points: few\n")
    assert "all                         A    360 points  median 0.1000  mean 0.1000" in printed
    assert "all                         A      6 points  too few" in printed
    mean = printed.split("mean of the scenes")[1]
    assert "all                         B    360 points  median 0.5000" in mean
    assert "seen by one only            A      0 points  too few  0 scenes" in mean
    assert read_image(tmp_path / "sheet.png").shape[0] == 3


def test_a_later_run_is_set_beside_an_earlier_one(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(monkeypatch, scenes, tmp_path / "old", "--weights", "1.5")
    before = tmp_path / "old" / "report.json"
    capsys.readouterr()
    measured(monkeypatch, scenes, tmp_path / "new", "--weights", "1.1", "--against", str(before))
    printed = capsys.readouterr().out
    assert f"A: 1.5 in {before}\nB: 1.1\n" in printed
    mean = printed.split("mean of the scenes")[1]
    assert "all                         A    360 points  median 0.5000" in mean
    assert "all                         B    360 points  median 0.1000" in mean


def test_only_figures_at_the_same_points_are_compared(tmp_path: Path) -> None:
    def figures(points: int) -> dict[str, dict[str, dict[str, Figures]]]:
        return {"net": {"scene": {"all": {"points": points}}}}

    path = tmp_path / "report.json"
    path.write_text(json.dumps({"networks": figures(5)}))
    require_same_points({**read_report(path), **figures(5)})
    with pytest.raises(InputError, match="other points"):
        require_same_points({**read_report(path), **figures(6)})
    path.write_text("[]")
    with pytest.raises(InputError, match="no report of depth"):
        read_report(path)


def test_a_row_counts_only_the_scenes_where_every_network_has_points() -> None:
    def rows(points: int, median: float) -> dict[str, Figures]:
        row = {"points": points, "median": median, "mean": median, "within 5 %": 0.5, "within 25 %": 1.0}
        return dict.fromkeys(measure_real_depth.ROWS, row)

    text = lines({"a": {"x": rows(40, 0.1), "y": rows(40, 0.3)}, "b": {"x": rows(40, 0.2), "y": rows(3, 0.9)}})
    start, shares = "  near an edge               ", "within 5 %  50.0%  within 25 % 100.0%"
    assert [line for line in text if "near an edge" in line and line.endswith("1 scenes")] == [
        f"{start} A     40 points  median 0.1000  mean 0.1000  {shares}  1 scenes",
        f"{start} B     40 points  median 0.2000  mean 0.2000  {shares}  1 scenes",
    ]
    assert text[-1] == "scenes with too few points: y"
