"""3D-aware leap flow distillation (VideoScene, Fig. 2 and Eq. 6; SPEC 2.1, 2.2), step by step.

    x_t = leap(x0r)             noise the latent of the *render*, to a t below T' < T: the part that is all noise is leapt over
    x_s = solver_step(x_t)      the frozen teacher takes one step of its own, down to s < t
    loss = d( f_student(x_t, t), f_target(x_s, s) )       both ends of that step must lead to the same clean latent

Latents are [B, T, C, H, W]; t and s are [B] integer timesteps, 0 <= s < t <= 999. A network is a `Backbone`: it takes the noised latent
and the condition side by side and returns v.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stages.video.one_step import Backbone
from stages.video.schedule import add_noise, ddim_step, x0_from_v

SIGMA_DATA = 0.5
TIMESTEP_SCALING = 10.0
HUBER_C = 0.001  # the paper gives none; that of the public latent consistency recipe (SPEC 2.5)


def leap(z_render: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """Noise the render's latent up to the leap step, where denoising starts: x_t = sqrt(abar_t) z_render + sqrt(1 - abar_t) noise."""
    return add_noise(z_render, noise, t)


def boundary_scalings(t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """c_skip = 0.25 / ((10 t)^2 + 0.25) and c_out = 10 t / sqrt((10 t)^2 + 0.25), [B, 1, ...] to multiply `like` with.

    (1, 0) at t = 0, so that f(x, 0) = x whatever the network says; (1e-8, 1) where one step is taken.
    """
    scaled = TIMESTEP_SCALING * t.to(like.device, torch.float32).reshape(-1, *[1] * (like.dim() - 1))
    return SIGMA_DATA**2 / (scaled**2 + SIGMA_DATA**2), scaled / (scaled**2 + SIGMA_DATA**2).sqrt()


def consistency(network: Backbone, x_t: Tensor, condition: Tensor, t: Tensor) -> Tensor:
    """f(x_t, t) = c_skip(t) x_t + c_out(t) x0_hat(x_t, t): where the network thinks that the trajectory through x_t ends.

    condition: [B, T, C', H, W], see `one_step.place_ends`.  Returns [B, T, C, H, W], float32 or wider.
    """
    v = network(torch.cat([x_t, condition], 2), t)
    c_skip, c_out = boundary_scalings(t, x_t)
    return c_skip * x_t + c_out * x0_from_v(x_t, v, t)


@torch.no_grad()
def solver_step(teacher: Backbone, x_t: Tensor, condition: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """One DDIM step of the frozen teacher from t to s, along the trajectory that the student is to jump to the end of."""
    return ddim_step(x_t, teacher(torch.cat([x_t, condition], 2), t), t, s)


def huber(a: Tensor, b: Tensor, c: float = HUBER_C) -> Tensor:
    """Pseudo-Huber distance sqrt((a - b)^2 + c^2) - c, meaned over all elements, float32: a scalar.

    Quadratic below c, linear above.
    """
    return (((a.float() - b.float()) ** 2 + c**2).sqrt() - c).mean()


@torch.no_grad()
def leap_flow_target(target: Backbone, teacher: Backbone, x_t: Tensor, condition: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """f_target(x_s, c, s) with x_s the teacher's step from x_t: what the student is to predict from x_t already.

    target: the moving average of the student, theta-.  s: below t; at 0 the target is x_s itself.
    """
    return consistency(target, solver_step(teacher, x_t, condition, t, s), condition, s)


def leap_flow_loss(
    student: Backbone,
    target: Backbone,
    teacher: Backbone,
    z_render: Tensor,
    condition: Tensor,
    t: Tensor,
    s: Tensor,
    noise: Tensor,
    c: float = HUBER_C,
) -> tuple[Tensor, Tensor]:
    """L = d( f_student(x_t, c, t), f_target(x_s, c, s) ) with x_t = leap(z_render): a scalar; and f_student(x_t, c, t), the student's clip.

    t: drawn from (0, T'].  s: below t, see `earlier`.  noise: like z_render.  c: of d.  Nothing flows back through target and teacher.
    """
    x_t = leap(z_render, t, noise)
    end = leap_flow_target(target, teacher, x_t, condition, t, s)
    made = consistency(student, x_t, condition, t)
    return huber(made, end, c), made


def earlier(t: Tensor, progress: float, gap: int, share: float, halvings: int) -> Tensor:
    """s for each t: the gap t - s is a share of t that halves as training goes on, and at least `gap` (Geng et al. 2024, ECT).

    progress: 0 to 1.  share: at the start, 1 for s = 0, where the target is the teacher's own jump to the end; 0 for a constant gap.
    halvings: how often it halves, at even distances.  Returns [B], from 0.
    """
    stage = min(halvings, int(progress * (halvings + 1)))
    return (t - (t * share / 2**stage).ceil().long().clamp(min=gap)).clamp(min=0)
