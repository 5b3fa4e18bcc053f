"""The plan says how much memory the run takes, whatever the command reads."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from stages.prior.memory import Workload, peak_memory
from tests.cli.conftest import Ended

Run = Callable[..., Ended]
Photos = tuple[Path, Path]


@pytest.mark.parametrize(
    ("work", "measured"),
    [
        (Workload(2 * 345_600, 256 * 384), 0.69),
        (Workload(2 * 345_600, 256 * 384, 49), 1.00),
        (Workload(2 * 345_600, 256 * 384, 49, repairs=True), 3.87),
        (Workload(2 * 345_600, 384 * 576, 13, repairs=True), 2.83),
        (Workload(0, 256 * 384, 49, predicts=False, refines=True), 0.9),
        (Workload(2 * 12_000_000, 256 * 384), 0.81),
        (Workload(2 * 108_000_000, 256 * 384), 4.75),
    ],
)
def test_the_plan_agrees_with_peaks_that_were_measured(work: Workload, measured: float) -> None:
    """GB, of the shipped weights on a CPU, in a fresh process each."""
    assert measured / 1.3 < peak_memory(work) / 1e9 < measured * 1.3


def memory(ended: Ended) -> float:
    assert ended.code == 0, ended.err
    found = re.fullmatch(r"about ([0-9.]+) GB.*", json.loads(ended.out)["memory"])
    assert found
    return float(found[1])


def test_every_command_plans_its_memory(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    plan, scene = ("--dry-run", "--json"), tmp_path / "s"
    few, many = (videoscene("generate", *photos, "-o", scene, *plan, "--frames", count) for count in (5, 500))
    assert memory(few) < memory(many)
    plain = videoscene("generate", *photos, "-o", scene, *plan, "--frames", 500, "--student", "none")
    assert memory(plain) < memory(many)
    assert videoscene("generate", *photos, "-o", scene, "--size", 64, "--frames", 5, "--student", "none").code == 0
    assert memory(videoscene("render", scene, "--frames", 3, "-o", tmp_path / "t", *plan)) > 0
    assert memory(videoscene("generate", scene, "-o", tmp_path / "t", *plan)) > 0
    assert memory(videoscene("reconstruct", scene, *plan)) > 0
    Image.new("RGB", (9000, 6000)).save(tmp_path / "large.png")
    assert memory(videoscene("prior", tmp_path / "large.png", photos[1], "-o", tmp_path / "t", *plan)) > 1.2
