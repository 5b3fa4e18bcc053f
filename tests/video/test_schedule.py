import pytest
import torch

from stages.video.schedule import (
    ALPHAS_CUMPROD,
    CLEAN,
    add_noise,
    ddim_step,
    levels,
    noise_from_v,
    v_from_x0,
    x0_from_v,
)
from tests.video.tiny import velocity

T = torch.tensor([0, 459, 998, 999])


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, 2, 3, generator=generator, dtype=torch.float64), torch.randn(
        4, 2, 3, generator=generator, dtype=torch.float64
    )


def diffusers_scheduler():
    from diffusers import CogVideoXDDIMScheduler

    return CogVideoXDDIMScheduler(
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        snr_shift_scale=1.0,
        timestep_spacing="trailing",
        clip_sample=False,
    )


@pytest.mark.parametrize(
    ("t", "abar", "tolerance"),
    [
        (0, 0.99915, 1e-9),
        (199, 0.7387001, 5e-8),
        (459, 0.2989934702, 5e-11),
        (549, 0.1802109555, 5e-11),
        (799, 0.0178832, 5e-8),
        (998, 1.968e-7, 5e-11),
        (999, 0.0, 0.0),
    ],
)
def test_published_values(t: int, abar: float, tolerance: float) -> None:
    assert abs(float(ALPHAS_CUMPROD[t]) - abar) <= tolerance


def test_diffusers_has_the_same_schedule() -> None:
    reference = diffusers_scheduler()
    assert ALPHAS_CUMPROD.dtype == reference.alphas_cumprod.dtype == torch.float64
    torch.testing.assert_close(ALPHAS_CUMPROD, reference.alphas_cumprod, rtol=0, atol=1e-15)


def test_the_step_is_that_of_diffusers(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    x_t, v = pair
    reference = diffusers_scheduler()
    reference.set_timesteps(50)
    for t, s in ((999, 979), (459, 439), (19, CLEAN)):
        expected = reference.step(v, t, x_t).prev_sample
        torch.testing.assert_close(
            ddim_step(x_t, v, torch.full((4,), t), torch.full((4,), s)), expected, rtol=0, atol=1e-12
        )


def test_parameterisations_agree_at_every_level(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    x0, noise = pair
    x_t, v = add_noise(x0, noise, T), velocity(x0, noise, T)
    assert torch.equal(x_t[3], noise[3])  # no signal is left at 999
    torch.testing.assert_close(x0_from_v(x_t, v, T), x0)
    torch.testing.assert_close(noise_from_v(x_t, v, T), noise)
    torch.testing.assert_close(v_from_x0(x_t, x0, T), v)


def test_a_perfect_prediction_goes_down_the_forward_process(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    x0, noise = pair
    t, s = torch.tensor([999, 999, 549, 20]), torch.tensor([998, CLEAN, 459, 0])
    x_s = ddim_step(add_noise(x0, noise, t), velocity(x0, noise, t), t, s)
    torch.testing.assert_close(x_s, add_noise(x0, noise, s))
    torch.testing.assert_close(x_s[1], x0[1])


def test_coefficients_in_bfloat16() -> None:
    """They are not rounded, as those of diffusers are."""
    like = torch.zeros(2, 1, dtype=torch.bfloat16)
    t = torch.tensor([459, 549])
    signal, sigma = levels(t, like)
    assert signal.dtype == torch.float32
    torch.testing.assert_close(signal.flatten(), torch.tensor([0.5468029537, 0.4245126094]), rtol=0, atol=1e-7)
    torch.testing.assert_close(sigma.flatten(), torch.tensor([0.8372613271, 0.9054220256]), rtol=0, atol=1e-7)
    assert add_noise(like, like, t).dtype == torch.bfloat16
