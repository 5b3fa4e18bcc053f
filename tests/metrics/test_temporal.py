"""Flicker and flow on clips whose motion is known."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.errors import InputError
from stages.metrics.temporal import flickering, flow, mean_flow


def texture(height: int, width: int) -> Tensor:
    """A smooth random picture [3, h, w] with detail at several sizes."""
    generator = torch.Generator().manual_seed(0)
    layers = [
        F.interpolate(torch.rand(1, 3, height // k, width // k, generator=generator), (height, width), mode="bicubic")[
            0
        ]
        for k in (4, 8, 16)
    ]
    return (sum(layers) / 3).clamp(0, 1)


def test_flickering_is_vbenchs() -> None:
    frames = torch.zeros(3, 3, 8, 8)
    frames[1] = 0.25
    assert flickering(frames).tolist() == [0.75, 0.75]
    assert flickering(frames[:1].expand(4, -1, -1, -1)).tolist() == [1, 1, 1]


@pytest.mark.parametrize("shift", [(0, 0), (2, 0), (0, 3), (7, -4), (12, 5)])
def test_flow_of_a_shifted_picture(shift: tuple[int, int]) -> None:
    x, y = shift
    wide = texture(128, 160)
    a, b = wide[:, 16:112, 16:144], wide[:, 16 - y : 112 - y, 16 - x : 144 - x]
    found = flow(a, b)[:, 16:-16, 16:-16]
    assert (found - torch.tensor([x, y])[:, None, None]).norm(dim=0).median() < 0.02
    assert mean_flow(torch.stack([a, b])).item() == pytest.approx(math.hypot(x, y), rel=0.15, abs=0.05)


def test_a_frozen_clip_does_not_move() -> None:
    assert mean_flow(texture(48, 64).expand(3, -1, -1, -1)).max() < 1e-3


def test_flow_without_texture_is_nothing() -> None:
    assert flow(torch.full((3, 40, 40), 0.5), torch.full((3, 40, 40), 0.5)).abs().max() == 0


@pytest.mark.parametrize("metric", [flickering, mean_flow])
def test_what_cannot_be_measured(metric) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=r"\(1, 3, 8, 8\)"):
        metric(torch.zeros(1, 3, 8, 8))
    with pytest.raises(InputError, match="NaN"):
        metric(torch.full((2, 3, 32, 32), torch.nan))
