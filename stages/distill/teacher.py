"""The teacher's loss: the backbone learns to find the truth, first in a noised truth, then in a noised render."""

import torch
from torch import Tensor

from stages.video.one_step import Backbone
from stages.video.schedule import add_noise, levels, v_from_x0, x0_from_v


def weight(t: Tensor, like: Tensor, cap: float | None) -> Tensor:
    """The weight of the squared error of v at t: w = min(1, cap (1 - abar_t)), [B, 1, ...] to multiply `like` with.

    An error e in x0 is an error e / sqrt(1 - abar_t) in v. So the plain loss on v (cap None) weights squared errors in
    x0 by 1 / (1 - abar_t), which is 1177 at t = 0. Here this weight is at most `cap` (as in min-SNR, Hang et al. 2023).
    """
    _, sigma = levels(t, like)
    return torch.ones_like(sigma) if cap is None else (cap * sigma**2).clamp(max=1)


def teacher_loss(
    network: Backbone, z_noised: Tensor, z_truth: Tensor, condition: Tensor, t: Tensor, noise: Tensor, cap: float | None
) -> tuple[Tensor, Tensor]:
    """L = mean of w(t) (v_hat - v)^2. v_hat = network([x_t | c], t); v leads from x_t to the truth.

    x_t = sqrt(abar_t) z_noised + sqrt(1 - abar_t) noise.  z_noised: latent of the truth or of the render,
    [B, T, C, H, W]. For the truth, v = sqrt(abar_t) noise - sqrt(1 - abar_t) z_truth.
    condition: [B, T, C', H, W].  t: [B].  noise: like z_truth.  Returns the loss, a float32 scalar, and x0_hat,
    [B, T, C, H, W].
    """
    x_t = add_noise(z_noised, noise, t)
    v_hat = network(torch.cat([x_t, condition], 2), t)
    error = v_hat.float() - v_from_x0(x_t, z_truth, t).float()
    return (weight(t, error, cap) * error**2).mean(), x0_from_v(x_t, v_hat, t)
