"""CogVideoX's noise schedule: v-prediction, zero terminal SNR, 1000 timesteps (diffusers' CogVideoXDDIMScheduler).

x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps is the noised sample. Networks predict the velocity (Salimans and Ho 2022),
v = sqrt(abar_t) eps - sqrt(1 - abar_t) x0; (x_t, v) is (x0, eps), rotated. As abar_999 = 0, nothing here divides by
sqrt(abar_t).

Tensors are [B, ...] in any layout; t and s are [B] integer timesteps, on any device.
"""

import functools

import torch
from torch import Tensor

from stages.video.timesteps import STEPS

CLEAN = -1  # stands for the timestep of a sample without noise, where a trajectory ends


def alphas_cumprod() -> Tensor:
    """abar_t, the signal's share of the variance, for t = 0 ... 999: [1000], float64.

    The betas are squares of a linear ramp ("scaled linear") between CogVideoX's values. sqrt(abar) is then shifted and
    scaled so that its last value becomes 0 and its first stays (Lin et al. 2024, algorithm 1).
    """
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, STEPS, dtype=torch.float64) ** 2
    signal = torch.cumprod(1 - betas, 0).sqrt()
    return ((signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])) ** 2


ALPHAS_CUMPROD = alphas_cumprod()
# The index CLEAN = -1 takes the last value.
_ALPHAS_AND_CLEAN = torch.cat([ALPHAS_CUMPROD, torch.ones(1, dtype=torch.float64)])
_LEVELS = (_ALPHAS_AND_CLEAN.sqrt(), (1 - _ALPHAS_AND_CLEAN).sqrt())


@functools.cache
def _tables(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """sqrt(abar_t) and sqrt(1 - abar_t) of every t, on a device. A GPU gets them only once."""
    # The type is changed before the device, because Apple's GPUs have no float64.
    signal, sigma = (table.to(dtype).to(device) for table in _LEVELS)
    return signal, sigma


def levels(t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """sqrt(abar_t) and sqrt(1 - abar_t), [B, 1, ...] to multiply `like` [B, ...] with. abar of CLEAN is 1.

    The roots are taken in float64 and returned as float32 or wider. Diffusers and the released code convert abar to the
    dtype of `like` before they take the roots. In bfloat16 at t = 459 they have 0.546875 and 0.83984375 in place of
    0.546803 and 0.837261.
    """
    dtype, shape = torch.promote_types(like.dtype, torch.float32), (-1, *[1] * (like.dim() - 1))
    signal, sigma = (table[t].reshape(shape).to(like.device) for table in _tables(dtype, t.device))
    return signal, sigma


def add_noise(x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise, in the dtype of x0."""
    signal, sigma = levels(t, x0)
    return (signal * x0 + sigma * noise).to(x0.dtype)


def x0_from_v(x_t: Tensor, v: Tensor, t: Tensor) -> Tensor:
    """x0 = sqrt(abar_t) x_t - sqrt(1 - abar_t) v; at t = 999 that is -v."""
    signal, sigma = levels(t, x_t)
    return (signal * x_t - sigma * v).to(x_t.dtype)


def noise_from_v(x_t: Tensor, v: Tensor, t: Tensor) -> Tensor:
    """eps = sqrt(abar_t) v + sqrt(1 - abar_t) x_t; at t = 999 that is x_t."""
    signal, sigma = levels(t, x_t)
    return (signal * v + sigma * x_t).to(x_t.dtype)


def v_from_x0(x_t: Tensor, x0: Tensor, t: Tensor) -> Tensor:
    """v = (sqrt(abar_t) x_t - x0) / sqrt(1 - abar_t), for networks that predict x0. Not defined at CLEAN."""
    signal, sigma = levels(t, x_t)
    return ((signal * x_t - x0) / sigma).to(x_t.dtype)


def ddim_step(x_t: Tensor, v: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """One deterministic DDIM step (Song et al. 2021) from t down to s.

    x_s = sqrt(abar_s) x0_hat + sqrt(1 - abar_s) eps_hat. With s = CLEAN this is x0_hat.
    """
    signal, sigma = levels(s, x_t)
    return (signal * x0_from_v(x_t, v, t) + sigma * noise_from_v(x_t, v, t)).to(x_t.dtype)
