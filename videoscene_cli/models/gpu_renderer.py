"""Loads the renderer of a GPU before any work, because its kernels may first have to be compiled, in minutes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from videoscene_cli.terminal.report import Report

if TYPE_CHECKING:
    import torch


def load_renderer(device: torch.device, report: Report) -> str:
    """Load the renderer's kernels for a device, and return the renderer's name (see `stages.splat.backend`)."""
    from stages.splat import backend

    with report.progress("loading the renderer of the GPU (compiled at first use)"), _programs_beside_python_found():
        return backend(device)


@contextmanager
def _programs_beside_python_found() -> Iterator[None]:
    """Put the interpreter's folder first on PATH: torch looks there for ninja, which pip installs beside Python."""
    before = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), before])
    try:
        yield
    finally:
        os.environ["PATH"] = before
