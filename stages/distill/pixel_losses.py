"""What a made clip is compared with the truth by, in pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Generator, Tensor

from stages.metrics.lpips import LPIPS

MOTION, PERCEPTUAL = 0.5, 0.15  # weights beside the mean absolute difference


def picture_loss(made: Tensor, truth: Tensor, perceptual: Callable[[Tensor, Tensor], Tensor] | None, weight: float = PERCEPTUAL) -> Tensor:
    """Mean absolute difference of frames and of their changes from frame to frame, and a perceptual distance: a scalar.

    made, truth: [B, F, 3, h, w], truth in [0, 1].  perceptual: distance of two sets of frames [N, 3, h, w], see `Perceptual`,
    which counts `weight` times.
    """
    change = (made.diff(dim=1) - truth.diff(dim=1)).abs().mean()
    loss = (made - truth).abs().mean() + MOTION * change
    if perceptual is None:
        return loss
    return loss + weight * perceptual(made.flatten(0, 1), truth.flatten(0, 1))


class Perceptual:
    """LPIPS (Zhang et al. 2018) that gradients flow through. weights: of lpips-vgg, see stages/metrics/network_files.py."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.network = LPIPS("vgg", weights)

    def __call__(self, made: Tensor, truth: Tensor) -> Tensor:
        """Mean distance of frames. made, truth: [N, 3, h, w] in about [0, 1]."""
        return torch.stack([self.distance(a, b) for a, b in zip(made, truth, strict=True)]).mean()

    def distance(self, made: Tensor, truth: Tensor) -> Tensor:
        """LPIPS of two frames [3, h, w], a scalar."""
        with torch.no_grad():
            reference = self.network.features(truth)
        return self.network.distance(self.network.features(made), reference).float()


def some_frames(distance: Callable[[Tensor, Tensor], Tensor], frames: int, generator: Generator) -> Callable[[Tensor, Tensor], Tensor]:
    """A distance of frames [N, ...] that looks at `frames` of them, drawn once from the generator: a whole clip is dear at each step."""
    place = torch.rand(frames, generator=generator)

    def some(made: Tensor, truth: Tensor) -> Tensor:
        chosen = (place * len(made)).long().tolist()
        return distance(made[chosen], truth[chosen])

    return some
