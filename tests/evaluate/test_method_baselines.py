"""The baselines on a wall whose depth and truth are known."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from stages.evaluate.cases import Task, load_task, read_cases
from stages.evaluate.method_baselines import crossfade, nearest
from stages.evaluate.method_plane_sweep import median5, plane_sweep, sweep
from stages.metrics.image import psnr

NEAR_FAR = torch.tensor([[1.0, 10.0], [1.0, 10.0]])


@pytest.fixture
def task(wall: Callable[..., Path]) -> Task:
    return load_task(read_cases(wall())[1])


def test_crossfade_and_nearest(task: Task) -> None:
    first, second = task.context.images
    torch.testing.assert_close(
        crossfade(task.context, task.cameras, task.times).frames[0], 0.75 * first + 0.25 * second
    )
    frames = nearest(task.context, task.cameras, task.times).frames
    assert torch.equal(frames[0], first)
    assert torch.equal(frames[1], second), "half way counts as the second"
    assert torch.equal(frames[2], second)


def test_the_sweep_finds_the_wall(task: Task) -> None:
    for reference, other, inside in ((0, 1, slice(16, 60)), (1, 0, slice(4, 48))):  # what both photographs show
        depth, cost = sweep(task.context, reference, other, NEAR_FAR[0])
        assert depth.shape == cost.shape == (48, 64)
        assert (depth[4:-4, inside] - 3).abs().max() < 0.1
        assert cost[4:-4, inside].max() < 0.3


def test_the_sweep_says_what_it_does_not_know(task: Task) -> None:
    cost = sweep(task.context, 0, 1, torch.tensor([2.9, 3.1]))[1]
    assert cost[10:-10, :6].min() > 0.5, "the left edge of the first photograph is out of the second"


def test_plane_sweep_beats_the_crossfade(task: Task) -> None:
    method = plane_sweep(lambda views: NEAR_FAR)
    clip = method(task.context, task.cameras, task.times)
    swept = psnr(clip.frames, task.truth)
    faded = psnr(crossfade(task.context, task.cameras, task.times).frames, task.truth)
    assert clip.coverage is not None
    assert clip.coverage.mean() > 0.8
    assert (swept > faded + 5).all()


def test_median() -> None:
    image = torch.zeros(7, 9)
    image[3, 4] = 100
    assert median5(image).abs().max() == 0
    ramp = torch.arange(9.0).expand(7, 9)
    torch.testing.assert_close(median5(ramp)[:, 2:-2], ramp[:, 2:-2])
