"""3D-aware leap flow distillation, step by step (VideoScene, section 3.2, Fig. 2 and Eq. 6).

    x_t = leap(z_render)        noise the latent of the *render* up to t <= T' < T: pure noise is leapt over
    x_s = solver_step(x_t)      the frozen teacher takes one step, down to s < t
    loss = d( f_student(x_t, t), f_target(x_s, s) )       both ends of that step must lead to the same clean latent

Latents are [B, T, C, H, W]; t and s are [B] integer timesteps, 0 <= s < t <= 999. A network is a `Backbone`: it takes
the noised latent and the condition side by side and returns v.
"""

import torch
from torch import Tensor

from stages.video.one_step import Backbone
from stages.video.schedule import add_noise, ddim_step, x0_from_v

# Constants of latent consistency models (Luo et al. 2023), from diffusers' training script. VideoScene's paper gives
# none.
SIGMA_DATA = 0.5  # standard deviation of the data
TIMESTEP_SCALING = 10.0  # factor on t in the boundary scalings
HUBER_C = 0.001  # where the pseudo-Huber distance turns from quadratic to linear


def leap(z_render: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """Noise the render's latent up to the leap step t: sqrt(abar_t) z_render + sqrt(1 - abar_t) noise."""
    return add_noise(z_render, noise, t)


def boundary_scalings(t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """c_skip = 0.25 / ((10 t)^2 + 0.25) and c_out = 10 t / sqrt((10 t)^2 + 0.25), [B, 1, ...] to multiply `like` with.

    They are (1, 0) at t = 0, so that f(x, 0) = x for every network, and about (1e-8, 1) at the leap step t = 459.
    """
    scaled = TIMESTEP_SCALING * t.to(like.device, torch.float32).reshape(-1, *[1] * (like.dim() - 1))
    return SIGMA_DATA**2 / (scaled**2 + SIGMA_DATA**2), scaled / (scaled**2 + SIGMA_DATA**2).sqrt()


def consistency(network: Backbone, x_t: Tensor, condition: Tensor, t: Tensor) -> Tensor:
    """f(x_t, t) = c_skip(t) x_t + c_out(t) x0_hat(x_t, t): the predicted end of the trajectory through x_t.

    condition: [B, T, C', H, W], see `one_step.place_ends`.  Returns [B, T, C, H, W], float32 or wider.
    """
    v = network(torch.cat([x_t, condition], 2), t)
    c_skip, c_out = boundary_scalings(t, x_t)
    return c_skip * x_t + c_out * x0_from_v(x_t, v, t)


@torch.no_grad()
def solver_step(teacher: Backbone, x_t: Tensor, condition: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """One DDIM step of the frozen teacher from t to s. The student learns to jump to the end of the same trajectory."""
    return ddim_step(x_t, teacher(torch.cat([x_t, condition], 2), t), t, s)


def huber(a: Tensor, b: Tensor, c: float = HUBER_C) -> Tensor:
    """Mean pseudo-Huber distance sqrt((a - b)^2 + c^2) - c over all elements: a float32 scalar.

    It is quadratic below c and linear above.
    """
    return (((a.float() - b.float()) ** 2 + c**2).sqrt() - c).mean()


@torch.no_grad()
def leap_flow_target(
    target: Backbone, teacher: Backbone, x_t: Tensor, condition: Tensor, t: Tensor, s: Tensor
) -> Tensor:
    """f_target(x_s, s), where x_s is the teacher's step from x_t. The student must predict this already from x_t.

    target: theta-, the moving average of the student.  s: below t. At s = 0 the result is x_s itself.
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
    """L = d( f_student(x_t, t), f_target(x_s, s) ), a scalar, and f_student(x_t, t); x_t = leap(z_render).

    t: sampled from (0, T'].  s: below t, see `earlier`.  noise: like z_render.  c: constant of the distance d.
    No gradient flows through target and teacher.
    """
    x_t = leap(z_render, t, noise)
    target_latent = leap_flow_target(target, teacher, x_t, condition, t, s)
    prediction = consistency(student, x_t, condition, t)
    return huber(prediction, target_latent, c), prediction


def earlier(t: Tensor, progress: float, gap: int, share: float, halvings: int) -> Tensor:
    """s for each t. The gap t - s is a share of t that halves during training (Geng et al. 2024), but at least `gap`.

    progress: 0 to 1.  share: the first share. With 1, s is 0 until the first halving, and the target is the teacher's
    own jump to the end. With 0, the gap is constant.  halvings: how often the share halves, at even intervals.
    Returns [B], from 0.
    """
    stage = min(halvings, int(progress * (halvings + 1)))
    return (t - (t * share / 2**stage).ceil().long().clamp(min=gap)).clamp(min=0)
