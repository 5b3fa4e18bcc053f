"""Every test gets the same random numbers and the same device, and folders that only some machines have."""

import os
from pathlib import Path

import pytest
import torch


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup() -> None:
    """Seed torch before every fixture, so that its values do not depend on the test that needs it first."""
    torch.manual_seed(1)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    """Seed torch before every test, so that what it draws does not depend on the tests and fixtures before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _compute_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs under test choose a GPU where there is one; their results would then be another machine's."""
    monkeypatch.setenv("VIDEOSCENE_DEVICE", "cpu")


def _folder(variable: str) -> Path:
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"needs a folder in the environment variable {variable}")
    if not Path(folder).is_dir():
        pytest.fail(f"{variable} is {folder}, and there is no such folder")
    return Path(folder)


@pytest.fixture(scope="session")
def upstream() -> Path:
    """Golden tensors of the released code ($VIDEOSCENE_UPSTREAM); the test is skipped where they are absent."""
    return _folder("VIDEOSCENE_UPSTREAM")


@pytest.fixture(scope="session")
def data() -> Path:
    """Photographs with known cameras ($VIDEOSCENE_DATA); the test is skipped where they are absent."""
    return _folder("VIDEOSCENE_DATA")
