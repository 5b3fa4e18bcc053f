"""Tables in the paper's form: our figures, the quoted ones, and files that spreadsheets read."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.evaluate.tables import Table, comparison, tables
from tests.evaluate.records import record
from videoscene_cli import app

MEANS = {"psnr": 21.5, "ssim": 0.7, "lpips vgg": "n/a", "fvd": 321.5, "kvd": "n/a"}
KIND = {
    "cases": 3,
    "mean": MEANS,
    "clips": 2,
    "context psnr": {"mean": None, "worst": 30.0},
    "coverage": None,
    "seconds": 1.25,
}
CASES = [record(method="generate", student={"name": "small", "t": 459, "steps": 4}).figures(), record().figures()]
BOTH = {"medium": KIND, "all": KIND}
METRICS = {
    "protocol": {"name": "two-view"},
    "summary": {"render": BOTH, "generate": BOTH, "photographs": BOTH},
    "cases": CASES,
}


def table(name: str) -> Table:
    return next(table for table in tables(METRICS) if table.name == name)


def test_every_table_is_rectangular() -> None:
    assert [table.name for table in tables(METRICS)] == ["results", "table1", "table2", "table3", "table4", "table6"]
    for each in tables(METRICS):
        assert all(len(row) == len(each.header) for row in each.rows), each.name
        assert len(list(csv.reader(each.csv().splitlines()))) == len(each.rows) + 1


def test_ours_and_quoted_figures() -> None:
    assert table("results").rows[0] == [
        "render",
        "medium",
        "3",
        "21.50",
        "0.700",
        "n/a",
        "321.50",
        "n/a",
        "inf",
        "30.00",
    ]
    rows = {tuple(row[:3]): row[3:] for row in table("table1").rows}
    assert rows["VideoScene", "quoted", "1"] == ["103.42", "0.5416", "0.9259", "0.9461"]
    assert rows["render", "ours", "n/a"] == ["321.50", "n/a", "n/a", "n/a"]
    assert ["VideoScene", "quoted", "Tanks and Temples", "14.28", "0.394", "0.564"] in table("table4").rows
    assert ["render", "ours", "3 all cases", "21.50", "0.700", "n/a"] in table("table4").rows
    assert ["3DGS (photographs)", "ours", "3 all cases", "21.50", "0.700", "n/a"] in table("table4").rows
    assert ["render", "ours", "1.25", "one case"] in table("table6").rows
    assert "aesthetic quality needs CLIP ViT-L/14" in table("table1").title
    assert rows["generate", "ours", "4"] == rows["render", "ours", "n/a"]
    assert [row[:3] for row in table("table3").rows if row[1] == "ours"] == [
        ["base render", "ours", "321.50"],
        ["full", "ours", "321.50"],
    ]


def test_reports_side_by_side() -> None:
    made = comparison({"full": METRICS, "without-ddpnet": METRICS})
    assert all(len(row) == len(made.header) for row in made.rows)
    assert made.rows[3] == ["full", "quoted", "1", "n/a", "97.53", "n/a", "n/a", "n/a"]
    assert ["full", "generate", "4", "3", "321.50", "21.50", "0.700", "n/a"] in made.rows
    assert ["without-ddpnet", "render", "n/a", "3", "321.50", "21.50", "0.700", "n/a"] in made.rows


def test_the_command_sets_reports_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("full", "without-ddpnet"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps(METRICS))
    assert app.run(["evaluate", "--report", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(tmp_path / "comparison.md"),
        str(tmp_path / "tables" / "comparison.csv"),
    ]
    assert "| without-ddpnet | generate | 4 |" in (tmp_path / "comparison.md").read_text()
    (tmp_path / "full" / "metrics.json").write_text('{"protocol": {"name": "clips"}}')
    assert app.run(["evaluate", "--report", str(tmp_path)]) == 2


def test_cells_with_commas() -> None:
    assert Table("t", "T", ["a"], [["x, y"]]).csv() == 'a\n"x, y"\n'
    assert Table("t", "T", ["a", "b"], [["1", "2"]]).markdown() == "## T\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n"


def test_the_command(wall: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert app.run(["evaluate", "--report", str(out)]) == 2
    assert app.run(["evaluate", "--two-view", str(wall()), "--method", "nearest", "-o", str(out)]) == 0
    capsys.readouterr()
    assert app.run(["evaluate", "--report", str(out), "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == str(out / "tables.md")
    assert not list(out.glob("tables*"))
    assert app.run(["evaluate", "--report", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == str(out / "tables.md")
    assert "| nearest | wide | 1 |" in (out / "tables.md").read_text()
    assert (out / "tables" / "results.csv").exists()
    (out / "metrics.json").write_text(json.dumps({"protocol": {"name": "sets"}}))
    assert app.run(["evaluate", "--report", str(out)]) == 2
