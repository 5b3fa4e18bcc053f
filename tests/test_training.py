"""What both trainings share: which parameters decay, the learning rate, the average."""

import pytest
import torch
from torch import nn

from stages.training import adamw, average_decay, learning_rate, without_denormals


def test_matrices_alone_decay() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4))
    groups = adamw(network.parameters(), 1e-3, 0.1).param_groups
    assert [(group["weight_decay"], len(group["params"]), group["lr"]) for group in groups] == [
        (0.1, 1, 1e-3),
        (0.0, 3, 1e-3),
    ]


def test_some_parameters_learn_at_a_share_of_the_rate() -> None:
    fast, slow = nn.Linear(2, 2), nn.Linear(2, 2)
    groups = adamw(fast.parameters(), 1e-3, 0.1, slow.parameters(), 0.25).param_groups
    assert [(group["weight_decay"], group["lr"], group["share"]) for group in groups] == [
        *((0.1, 1e-3, 1.0), (0.0, 1e-3, 1.0)),
        *((0.1, 2.5e-4, 0.25), (0.0, 2.5e-4, 0.25)),
    ]


@pytest.mark.parametrize(
    ("step", "cosine", "flat"), [(0, 0.25, 0.25), (3, 1, 1), (4, 1, 1), (52, 0.51, 1), (100, 0.02, 1), (200, 0.02, 1)]
)
def test_the_rate_warms_up_and_falls(step: int, cosine: float, flat: float) -> None:
    assert learning_rate(step, 100, 2.0, 4) == pytest.approx(2 * cosine)
    assert learning_rate(step, 100, 2.0, 4, cosine=False) == pytest.approx(2 * flat)


def test_no_warm_up_and_no_steps() -> None:
    assert learning_rate(0, 0, 2.0, 0) == 2.0


def test_the_average_forgets_its_start() -> None:
    assert [average_decay(0.9, step) for step in (0, 10, 1000)] == [0, 0.5, 0.9]


def test_denormal_numbers_count_as_0_within_the_block_alone() -> None:
    tiny = torch.full((64,), 1e-30)
    with without_denormals():
        assert float((tiny * 1e-10).sum()) == 0
    assert float((tiny * 1e-10).sum()) > 0
