"""Figure 8 and the histograms of t*, from synthetic records."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.evaluate.case_record import records_of_report
from stages.evaluate.plots import curves, leaps, plot_leaps
from stages.files.images import read_image
from tests.evaluate.records import record
from videoscene_cli import app


def summary(psnr: float) -> dict[str, Any]:
    mean = {"psnr": psnr, "ssim": 0.7, "lpips vgg": "n/a", "fvd": 100.0 + psnr, "kvd": "n/a"}
    return {
        "all": {
            "cases": 2,
            "mean": mean,
            "clips": 2,
            "context psnr": {"mean": 30.0, "worst": 28.0},
            "coverage": None,
            "seconds": 1.0,
        }
    }


@pytest.fixture
def metrics() -> dict[str, Any]:
    """A report of generate with 1, 4 and 50 steps, svd with 4, and the render."""
    methods = {"generate": 1, "generate-4": 4, "generate-50": 50, "svd-4": 4}
    cases = [
        record(method=name, case=f"a-{k}", student={"name": "small", "t": 300 + 100 * k, "steps": steps})
        for name, steps in methods.items()
        for k in (0, 1)
    ]
    return {
        "protocol": {"name": "two-view"},
        "summary": {name: summary(20.0 + index) for index, name in enumerate([*methods, "render"])},
        "cases": [case.figures() for case in [*cases, record()]],
        "failed": {},
    }


def test_curves_are_of_methods_with_several_numbers_of_steps(metrics: dict[str, Any]) -> None:
    found = curves(records_of_report(metrics), metrics["summary"])
    assert list(found) == ["generate"]
    assert {steps: values["psnr"] for steps, values in found["generate"].items()} == {1: 20, 4: 21, 50: 22}
    assert set(found["generate"][1]) == {"psnr", "ssim", "fvd"}


def test_leaps_of_cases(metrics: dict[str, Any]) -> None:
    assert leaps(records_of_report(metrics))["generate-4"] == [300, 400]


def test_the_command_draws_them(metrics: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    assert app.run(["evaluate", "--report", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        str(tmp_path / "plots" / "steps.png"),
        str(tmp_path / "plots" / "leaps.png"),
    ]
    picture = read_image(tmp_path / "plots" / "steps.png")
    assert picture.shape[2] > 3 * picture.shape[1], "three panels"
    assert float(picture.std()) > 0.05


def test_histograms_show_the_leaps(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot_leaps(tmp_path / "low.png", {"small": [100] * 5})
    plot_leaps(tmp_path / "high.png", {"small": [900] * 5})
    low, high = (read_image(tmp_path / f"{name}.png") for name in ("low", "high"))
    assert not torch.equal(low, high)
    blue = torch.stack([(image[2] - image[0]).clamp_min(0).sum(0) for image in (low, high)])
    assert int(blue[0].argmax()) < low.shape[2] / 2 < int(blue[1].argmax())
