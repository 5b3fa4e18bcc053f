"""Both CPU implementations behind one fixture."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from stages.splat import cpu, dispatch, fallback


@pytest.fixture(params=["c++", "torch"])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """cpu or fallback; `rasterization` uses it during the test."""
    module = cpu if request.param == "c++" else fallback
    monkeypatch.setattr(dispatch, "_implementation", lambda dtype: module)
    return module


@pytest.fixture
def render(implementation: ModuleType) -> Callable[..., Any]:
    """`rasterization` on either implementation."""
    return dispatch.rasterization
