"""One-step regression, the baseline that leap flow must beat: from the noised render straight to the truth.

As in Difix (Wu et al. 2025).
"""

from collections.abc import Callable

from torch import Tensor

from stages.distill.leap_flow import huber
from stages.distill.pixel_losses import picture_loss

Perceptual = Callable[[Tensor, Tensor], Tensor]


def truth_loss(
    x0_hat: Tensor,
    z_truth: Tensor,
    truth: Tensor,
    decode: Callable[[Tensor], Tensor],
    latent: float,
    picture: float,
    perceptual: Perceptual | None,
    weight: float,
    c: float = 1.0,
) -> Tensor:
    """The distance of a prediction from the truth, a scalar.

    latent * d(x0_hat, z_truth) + picture * picture_loss(decode(x0_hat), truth); d is the pseudo-Huber distance with
    constant c.
    x0_hat, z_truth: [B, T, C, H, W].  truth: [B, F, 3, h, w] in [0, 1].  perceptual, weight: see `picture_loss`.
    Nothing is decoded when `picture` is 0.
    """
    loss = latent * huber(x0_hat, z_truth, c)
    return loss + picture * picture_loss(decode(x0_hat), truth, perceptual, weight) if picture else loss
