"""The teacher's loss: the plain v loss of the paper's symbols, and where its minimum lies."""

import pytest
import torch
from torch import Tensor

from stages.distill.teacher import teacher_loss, weight
from stages.video.schedule import ALPHAS_CUMPROD, add_noise, v_from_x0
from tests.video.tiny import velocity

SHAPE = (2, 3, 4, 2, 2)


def draw(count: int) -> list[Tensor]:
    return list(torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64))


def test_on_the_truth_it_is_the_loss_on_v() -> None:
    truth, condition, noise = draw(3)
    t = torch.tensor([0, 999])
    loss, x0 = teacher_loss(lambda x, t: 0.1 * x[:, :, :4], truth, truth, condition, t, noise, None)
    x_t = add_noise(truth, noise, t)
    expected = ((0.1 * x_t - velocity(truth, noise, t)) ** 2).mean()
    assert float(loss) == pytest.approx(float(expected), rel=1e-4)
    assert x0.shape == truth.shape


def test_on_a_render_the_truth_has_no_loss() -> None:
    render, truth, condition, noise = draw(4)
    t = torch.tensor([100, 599])
    loss, x0 = teacher_loss(lambda x, t: v_from_x0(x[:, :, :4], truth, t), render, truth, condition, t, noise, 5.0)
    assert float(loss) < 1e-10
    torch.testing.assert_close(x0, truth)
    loss, _ = teacher_loss(lambda x, t: v_from_x0(x[:, :, :4], render, t), render, truth, condition, t, noise, None)
    sigma = (1 - ALPHAS_CUMPROD[t]).reshape(2, 1, 1, 1, 1)
    assert float(loss) == pytest.approx(float(((render - truth) ** 2 / sigma).mean()), rel=1e-4)


def test_no_timestep_counts_an_error_of_x0_more_often_than_the_cap() -> None:
    t = torch.arange(1000)
    of_x0 = weight(t, torch.ones(1000, 1), 5.0)[:, 0] / (1 - ALPHAS_CUMPROD)
    assert float(of_x0.max()) == pytest.approx(5, rel=1e-5)
    assert float(of_x0[-1]) == pytest.approx(1)
    assert torch.equal(weight(t, torch.ones(1000, 1), None), torch.ones(1000, 1))


def test_the_network_sees_the_condition_and_the_timestep() -> None:
    truth, condition, noise = draw(3)
    t = torch.tensor([7, 8])

    def network(x: Tensor, at: Tensor) -> Tensor:
        assert torch.equal(x[:, :, 4:], condition)
        assert torch.equal(at, t)
        return x[:, :, :4]

    teacher_loss(network, truth, truth, condition, t, noise, 5.0)
