"""The GPU's renderer is loaded before any work, with the programs that its build needs."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from stages.splat import gsplat_kernels
from videoscene_cli.models.gpu_renderer import load_renderer
from videoscene_cli.terminal.report import Report


def test_the_build_finds_programs_beside_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ninja in .venv/bin, when the program is started by its path."""
    paths = []

    def build(name: str) -> SimpleNamespace:
        paths.append(os.environ["PATH"])
        return SimpleNamespace(_C=object())

    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(gsplat_kernels, "importlib", SimpleNamespace(import_module=build))
    gsplat_kernels.are_loaded.cache_clear()
    try:
        assert load_renderer(torch.device("cuda"), Report(quiet=True)) == "gsplat"
    finally:
        gsplat_kernels.are_loaded.cache_clear()
    assert paths == [os.pathsep.join([str(Path(sys.executable).parent), "/nowhere"])]
    assert os.environ["PATH"] == "/nowhere"
