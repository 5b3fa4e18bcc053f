"""The losses of a predicted clip against the truth, in pixels."""

from collections.abc import Callable, Mapping

import torch
from torch import Generator, Tensor

from stages.metrics.lpips import LPIPS

# Weights of two loss terms relative to the mean absolute difference: changes between frames, LPIPS.
MOTION, PERCEPTUAL = 0.5, 0.15


def picture_loss(
    prediction: Tensor, truth: Tensor, perceptual: Callable[[Tensor, Tensor], Tensor] | None, weight: float = PERCEPTUAL
) -> Tensor:
    """A scalar: mean absolute difference of frames and of their changes over time, plus a perceptual distance.

    prediction, truth: [B, F, 3, h, w], truth in [0, 1].  perceptual: distance of two sets of frames [N, 3, h, w], see
    `Perceptual`.  weight: weight of the perceptual distance.
    """
    change = (prediction.diff(dim=1) - truth.diff(dim=1)).abs().mean()
    loss = (prediction - truth).abs().mean() + MOTION * change
    if perceptual is None:
        return loss
    return loss + weight * perceptual(prediction.flatten(0, 1), truth.flatten(0, 1))


class Perceptual:
    """LPIPS (Zhang et al. 2018), differentiable. weights: those of lpips-vgg, see stages/metrics/network_files.py."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.network = LPIPS("vgg", weights)

    def __call__(self, prediction: Tensor, truth: Tensor) -> Tensor:
        """Mean distance of pairs of frames. prediction, truth: [N, 3, h, w] in about [0, 1]."""
        return torch.stack([self.distance(a, b) for a, b in zip(prediction, truth, strict=True)]).mean()

    def distance(self, prediction: Tensor, truth: Tensor) -> Tensor:
        """LPIPS of two frames [3, h, w], a scalar."""
        with torch.no_grad():
            reference = self.network.features(truth)
        return self.network.distance(self.network.features(prediction), reference).float()


def some_frames(
    distance: Callable[[Tensor, Tensor], Tensor], frames: int, generator: Generator
) -> Callable[[Tensor, Tensor], Tensor]:
    """A distance that compares only `frames` random frames of [N, ...], because all frames cost too much in every step.

    The frames are sampled once, here.
    """
    positions = torch.rand(frames, generator=generator)

    def distance_of_some(prediction: Tensor, truth: Tensor) -> Tensor:
        chosen = (positions * len(prediction)).long().tolist()
        return distance(prediction[chosen], truth[chosen])

    return distance_of_some
