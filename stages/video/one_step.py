"""VideoScene's one step (section 3.2): noise the render's latent up to t and denoise it with one call of the network.

t is the leap step: all noisier steps of a usual sampler are leapt over.

This follows the released videoscene/pipeline.py, function video_gen. Latents are [B, T, C, H, W], as CogVideoX's
transformer takes them.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from stages.video.schedule import CLEAN, add_noise, ddim_step, x0_from_v

Backbone = Callable[[Tensor, Tensor], Tensor]
"""(x_t and condition side by side [B, T, C + C', H, W], t [B]) -> v [B, T, C, H, W]. It may hold a prompt itself.

The condition has C' channels: C for CogVideoX (see `place_ends`), another number for `small`, and 0 for
`small_backbone`, which holds its condition itself.
"""

# Mean and standard deviation of log(sigma), where sigma is the standard deviation of the noise on the photographs
# (released videoscene/pipeline.py, video_gen).
SIGMA_LOG_MEAN, SIGMA_LOG_STD = -3.0, 0.5


def one_step(backbone: Backbone, latent_render: Tensor, condition: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """Repair a render's latent. With x0r = latent_render:

        x_t = sqrt(abar_t) x0r + sqrt(1 - abar_t) noise
        v = backbone([x_t | condition], t)
        x0 = sqrt(abar_t) x_t - sqrt(1 - abar_t) v

    latent_render: [B, T, C, H, W].  condition: [B, T, C', H, W], see `Backbone`.  t: [B], integers, the leap step.
    noise: [B, T, C, H, W].  Returns x0: [B, T, C, H, W].
    """
    x_t = add_noise(latent_render, noise, t)
    v = backbone(torch.cat([x_t, condition], 2), t)
    return x0_from_v(x_t, v, t)


def several_steps(
    backbone: Backbone, latent_render: Tensor, condition: Tensor, t: Tensor, noise: Tensor, steps: int
) -> Tensor:
    """Repair a render's latent in several steps: noise it up to t, then take `steps` even DDIM steps down to clean.

    Arguments and result are those of `one_step`. All clips of a batch leap to the same t.
    """
    x, grid = add_noise(latent_render, noise, t), sampler_grid(int(t[0]), steps)
    for step, (start, end) in enumerate(grid):
        t_start, s = torch.full_like(t, start), torch.full_like(t, end)
        inputs = torch.cat([x, condition], 2)
        if step == len(grid) - 1:
            del condition  # The inputs hold a copy, and a condition may be large.
        x = ddim_step(x, backbone(inputs, t_start), t_start, s)
    return x


def sampler_grid(first: int, steps: int) -> list[tuple[int, int]]:
    """The pairs (t, s) of a sampler that starts at t = first and takes `steps` even steps. The last ends at CLEAN."""
    times = [max(round(first * (steps - step) / steps), 1) for step in range(steps)]
    return list(zip(times, [*times[1:], CLEAN], strict=True))


def place_ends(first: Tensor, last: Tensor, frames: int) -> Tensor:
    """The condition: the latents of the two photographs at the two ends, zeros between them.

    first, last: [B, 1, C, H, W].  frames: T, latent frames, at least 2.  Returns [B, T, C, H, W].
    """
    between = first.new_zeros(first.shape[0], frames - 2, *first.shape[2:])
    return torch.cat([first, between, last], 1)


def sample_sigma(generator: torch.Generator, like: Tensor) -> Tensor:
    """The standard deviation of the noise that both photographs get before they are encoded, a scalar.

    It is exp(n), n ~ N(-3, 0.5), with median 0.05, and is sampled on the generator's device. CogVideoX was trained on
    images with such noise, and the released code adds it at inference too.
    """
    n = torch.normal(SIGMA_LOG_MEAN, SIGMA_LOG_STD, (1,), generator=generator, device=generator.device)
    return n.to(like).exp()
