"""On data whose every pixel is N(MEAN, STD^2). There the teacher, its trajectories and their ends have closed forms.

With abar the signal, x_t ~ N(sqrt(abar) MEAN, abar STD^2 + 1 - abar). The trajectory of the probability flow keeps the
standardised value of x_t, and the best prediction of x0 is linear in x_t.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from stages.distill.leap_flow import (
    HUBER_C,
    boundary_scalings,
    consistency,
    earlier,
    huber,
    leap,
    leap_flow_loss,
    solver_step,
)
from stages.video.one_step import Backbone
from stages.video.schedule import ALPHAS_CUMPROD, v_from_x0

MEAN, STD = 0.3, 0.6
SHAPE = (2, 3, 16, 4, 6)
T, S = torch.tensor([549, 300]), torch.tensor([529, 280])


def batched(values: Tensor) -> Tensor:
    return values.reshape(-1, 1, 1, 1, 1)


def standardised(x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """x_t less its mean over its standard deviation, and abar_t."""
    abar = batched(ALPHAS_CUMPROD[t])
    return (x_t - abar.sqrt() * MEAN) / (abar * STD**2 + 1 - abar).sqrt(), abar


def posterior_mean(x_t: Tensor, t: Tensor) -> Tensor:
    """E[x0 | x_t]: what a perfect teacher predicts."""
    z, abar = standardised(x_t, t)
    return MEAN + abar.sqrt() * STD**2 / (abar * STD**2 + 1 - abar).sqrt() * z


def end(x_t: Tensor, t: Tensor) -> Tensor:
    """Where the trajectory through x_t ends: what a perfect student predicts."""
    return MEAN + STD * standardised(x_t, t)[0]


def along(x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """The trajectory through x_t, at s."""
    abar = batched(ALPHAS_CUMPROD[s])
    return abar.sqrt() * MEAN + (abar * STD**2 + 1 - abar).sqrt() * standardised(x_t, t)[0]


def network(predict_x0: Callable[[Tensor, Tensor], Tensor]) -> Backbone:
    """A backbone that makes this prediction, by its v."""

    def backbone(x: Tensor, t: Tensor) -> Tensor:
        x_t = x[:, :, : SHAPE[2]]
        return v_from_x0(x_t, predict_x0(x_t, t), t)

    return backbone


@pytest.fixture
def tensors() -> tuple[Tensor, Tensor, Tensor]:
    """A render's latent, a condition and noise, float64."""
    render, condition, noise = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return MEAN + STD * render, condition, noise


def test_scalings_as_published() -> None:
    c_skip, c_out = boundary_scalings(torch.tensor([0, 459, 549]), torch.zeros(3, 1))
    assert c_skip[0].item() == 1
    assert c_out[0].item() == 0
    torch.testing.assert_close(c_skip[1:, 0], torch.tensor([1.2e-8, 8.3e-9]), rtol=0.02, atol=0)
    torch.testing.assert_close(c_out[1:, 0], torch.ones(2))


def test_at_zero_the_function_is_the_identity(tensors: tuple[Tensor, Tensor, Tensor]) -> None:
    x, condition, _ = tensors
    assert torch.equal(consistency(network(lambda x, t: 100 + 0 * x), x, condition, torch.tensor([0, 0])), x)


def test_a_step_of_the_teacher_stays_on_the_trajectory(tensors: tuple[Tensor, Tensor, Tensor]) -> None:
    """With an error that falls with the square of the gap, as of any first-order solver."""
    render, condition, noise = tensors
    x_t = leap(render, T, noise)
    errors = [
        float((solver_step(network(posterior_mean), x_t, condition, T, T - gap) - along(x_t, T, T - gap)).abs().max())
        for gap in (40, 20, 10)
    ]
    assert errors[1] < 0.005
    assert 3.5 < errors[0] / errors[1] < 4.6
    assert 3.5 < errors[1] / errors[2] < 4.6


def test_a_step_is_exact_where_the_data_is_one_point(tensors: tuple[Tensor, Tensor, Tensor]) -> None:
    """Then the trajectory is the forward process itself."""
    _, condition, noise = tensors
    point = torch.full(SHAPE, MEAN, dtype=torch.float64)
    x_s = solver_step(network(lambda x, t: point), leap(point, T, noise), condition, T, S)
    torch.testing.assert_close(x_s, leap(point, S, noise), rtol=0, atol=1e-12)


def test_the_target_in_closed_form(tensors: tuple[Tensor, Tensor, Tensor]) -> None:
    """DDIM multiplies: x_s = sqrt(abar_s) x0_hat + sqrt((1 - abar_s) / (1 - abar_t)) (x_t - sqrt(abar_t) x0_hat)."""
    render, condition, noise = tensors
    student, teacher = network(end), network(posterior_mean)
    loss, made = leap_flow_loss(student, student, teacher, render, condition, T, S, noise)
    x_t = batched(ALPHAS_CUMPROD[T]).sqrt() * render + (1 - batched(ALPHAS_CUMPROD[T])).sqrt() * noise
    x0, (abar_t, abar_s) = posterior_mean(x_t, T), (batched(ALPHAS_CUMPROD[at]) for at in (T, S))
    x_s = abar_s.sqrt() * x0 + ((1 - abar_s) / (1 - abar_t)).sqrt() * (x_t - abar_t.sqrt() * x0)
    expected = (((end(x_t, T) - end(x_s, S)) ** 2 + HUBER_C**2).sqrt() - HUBER_C).mean()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-3, atol=1e-8)
    torch.testing.assert_close(made, end(x_t, T), rtol=0, atol=1e-5)


def test_the_perfect_student_has_the_least_loss(tensors: tuple[Tensor, Tensor, Tensor]) -> None:
    """Against the teacher's own prediction, the render itself, and students that are off by a little in scale."""
    render, condition, noise = tensors
    teacher = network(posterior_mean)

    def loss(predict: Callable[[Tensor, Tensor], Tensor]) -> float:
        return float(leap_flow_loss(network(predict), network(end), teacher, render, condition, T, S, noise)[0])

    best = loss(end)
    assert best < 0.003
    others = [
        posterior_mean,
        lambda x, t: x,
        lambda x, t: MEAN + 1.05 * (end(x, t) - MEAN),
        lambda x, t: MEAN + 0.95 * (end(x, t) - MEAN),
    ]
    assert all(loss(predict) > 5 * best for predict in others)


def test_the_gradient_reaches_the_student_alone(tensors: tuple[Tensor, Tensor, Tensor]) -> None:
    scales = [torch.ones((), dtype=torch.float64, requires_grad=True) for _ in range(3)]
    student, target, teacher = (network(lambda x, t, scale=scale: 0.9 * scale * end(x, t)) for scale in scales)
    leap_flow_loss(student, target, teacher, *tensors[:2], T, S, tensors[2])[0].backward()
    assert scales[0].grad is not None
    assert scales[0].grad != 0
    assert scales[1].grad is None
    assert scales[2].grad is None


def test_the_gap_shrinks() -> None:
    t = torch.tensor([599, 100, 1])
    assert earlier(t, 0.0, 20, 1.0, 5).tolist() == [0, 0, 0]
    assert earlier(t, 0.17, 20, 1.0, 5).tolist() == [599 - 300, 50, 0]  # one halving, rounded up
    assert earlier(t, 0.99, 20, 1.0, 5).tolist() == [579, 80, 0]
    assert earlier(t, 1.0, 10, 1.0, 5).tolist() == [599 - 19, 90, 0]
    assert earlier(t, 0.0, 20, 0.0, 5).tolist() == [579, 80, 0], "a share of 0 is the constant gap"


def test_huber() -> None:
    assert abs(float(huber(torch.ones(5), torch.ones(5)))) < 1e-8  # float32 numbers near c are 1e-10 apart
    assert abs(float(huber(torch.tensor([1e-5]), torch.zeros(1), 1e-3)) - 0.5e-7) < 1e-9  # d^2 / 2c
    assert abs(float(huber(torch.tensor([7.0]), torch.zeros(1), 1e-3)) - 7) < 2e-3  # d - c
    assert huber(torch.ones(2).bfloat16(), torch.zeros(2).bfloat16()).dtype == torch.float32
