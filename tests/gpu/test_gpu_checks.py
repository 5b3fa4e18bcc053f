"""The checks for a GPU run to their end on a CPU at tiny size, where a GPU and a CPU cannot differ."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.gpu.check import PARTS, run
from tests.gpu.findings import Findings

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("part", PARTS)
def test_nothing_is_off_on_a_cpu(part: str) -> None:
    assert run(part, dry=True).failed == []


def test_the_script_runs_its_parts_dry(tmp_path: Path) -> None:
    """One part; the test above runs the lines of all."""
    environment = os.environ | {"PYTHON": sys.executable, "OUT": str(tmp_path)}
    command = ["bash", "tests/gpu/check.sh", "--dry", "environment"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout
    assert "environment: 0 off" in ended.stdout


def test_a_check_that_raises_does_not_hide_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    findings = Findings(torch.device("cpu"), dry=True)
    assert findings.attempt("broken", lambda: torch.ones(2) @ torch.ones(3)) is None
    findings.tell("off", "2", good=False)
    findings.tell("right", "1", good=True)
    assert findings.failed == ["broken", "off"]
    printed = capsys.readouterr().out
    assert "FAIL broken" in printed
    assert "ok   right" in printed
