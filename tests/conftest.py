"""Folders that tests may use and that are not part of the project; a test that asks for one is skipped where it is absent."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _folder(variable: str, name: str) -> Path:
    folder = Path(os.environ.get(variable, ROOT.parent / "shared" / name))
    if not folder.is_dir():
        pytest.skip(f"needs {variable}, a folder")
    return folder


@pytest.fixture(scope="session")
def upstream() -> Path:
    """Golden tensors of the released code ($VIDEOSCENE_UPSTREAM)."""
    return _folder("VIDEOSCENE_UPSTREAM", "upstream")


@pytest.fixture(scope="session")
def data() -> Path:
    """Photographs with known cameras ($VIDEOSCENE_DATA)."""
    return _folder("VIDEOSCENE_DATA", "data")
