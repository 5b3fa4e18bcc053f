"""Images that are the same on every machine, and the metric networks where `make metrics` has put them."""

import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

Pair = Callable[[int, tuple[int, int, int], float], tuple[Tensor, Tensor]]


@pytest.fixture
def a_pair() -> Pair:
    """(seed, shape, noise) -> two images [1, C, h, w], float64, from a linear congruential sequence."""

    def make(seed: int, shape: tuple[int, int, int], noise: float) -> tuple[Tensor, Tensor]:
        state, values = seed + 1, []
        for _ in range(2 * math.prod(shape)):
            state = (1103515245 * state + 12345) % 2**31
            values.append(state / 2**31)
        a, b = torch.tensor(values, dtype=torch.float64).view(2, 1, *shape)
        return a, (a + noise * (b - 0.5)).clamp(0, 1)

    return make


@pytest.fixture
def networks() -> Path:
    """The folder of metric networks; the test is skipped where they are absent."""
    folder = Path(os.environ.get("VIDEOSCENE_CACHE") or "~/.cache/videoscene").expanduser() / "metrics"
    if len(list(folder.glob("*.safetensors"))) < 3:
        pytest.skip("needs the metric networks: make metrics")
    return folder
