"""VideoScene's one step: noise the render's latent up to t, call the network once, read off the clean latent (SPEC 1.8, 1.9).

Latents are [B, T, C, H, W], as CogVideoX's transformer takes them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from stages.video.schedule import CLEAN, add_noise, ddim_step, x0_from_v

Backbone = Callable[[Tensor, Tensor], Tensor]
"""(x_t and condition side by side [B, T, 2C, H, W], t [B]) -> v [B, T, C, H, W]; whatever else it needs, it holds."""

SIGMA_LOG_MEAN, SIGMA_LOG_STD = -3.0, 0.5


def one_step(backbone: Backbone, latent_render: Tensor, condition: Tensor, t: Tensor, noise: Tensor, rounded: bool = False) -> Tensor:
    """Repair a render's latent: x_t = sqrt(abar_t) x0r + sqrt(1 - abar_t) noise, v = backbone([x_t | condition], t), x0 from v.

    latent_render: x0r, [B, T, C, H, W].  condition: [B, T, C, H, W], see `place_ends`.  t: [B], integer, the leap step.  noise: like x0r.
    rounded: coefficients in the dtype of the latents, as upstream (see `schedule.levels`).  Returns x0, [B, T, C, H, W].
    """
    x_t = add_noise(latent_render, noise, t, rounded)
    v = backbone(torch.cat([x_t, condition], 2), t)
    return x0_from_v(x_t, v, t, rounded)


def several_steps(backbone: Backbone, latent_render: Tensor, condition: Tensor, t: Tensor, noise: Tensor, steps: int) -> Tensor:
    """Repair a render's latent as a sampler does: leap to t, then DDIM over `steps` even steps down to the clean latent.

    Arguments and result as of `one_step`; all clips of a batch leap to one t.
    """
    x = add_noise(latent_render, noise, t)
    for now, then in sampler_grid(int(t[0]), steps):
        at, s = torch.full_like(t, now), torch.full_like(t, then)
        x = ddim_step(x, backbone(torch.cat([x, condition], 2), at), at, s)
    return x


def sampler_grid(first: int, steps: int) -> list[tuple[int, int]]:
    """The (t, s) of a sampler that starts at t = first and takes `steps` even steps; the last goes to CLEAN."""
    times = [max(round(first * (steps - step) / steps), 1) for step in range(steps)]
    return list(zip(times, [*times[1:], CLEAN], strict=True))


def place_ends(first: Tensor, last: Tensor, frames: int) -> Tensor:
    """The condition: the latents of the two photographs at both ends, zeros between.

    first, last: [B, 1, C, H, W].  frames: T, latent frames, at least 2.  Returns [B, T, C, H, W].
    """
    between = first.new_zeros(first.shape[0], frames - 2, *first.shape[2:])
    return torch.cat([first, between, last], 1)


def draw_sigma(generator: torch.Generator, like: Tensor) -> Tensor:
    """The strength of the noise put on both photographs before they are encoded: exp(n), n ~ N(-3, 0.5), a scalar; median 0.05.

    CogVideoX was trained on such images, and upstream adds the noise at inference too. Drawn on the generator's device.
    """
    n = torch.normal(SIGMA_LOG_MEAN, SIGMA_LOG_STD, (1,), generator=generator, device=generator.device)
    return n.to(like).exp()
