"""How networks are trained: AdamW, a learning rate with warm-up and cosine decay, and averaged weights."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

FINAL_SHARE = 0.02  # final learning rate of the cosine, as a share of the peak


@contextmanager
def without_denormals() -> Iterator[None]:
    """Numbers below the normal range of float32 count as 0 on a CPU in this block.

    Gradients hold many of them, and convolutions with them are up to 40 times slower.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def adamw(
    parameters: Iterable[Tensor],
    learning_rate: float,
    weight_decay: float,
    slow: Iterable[Tensor] = (),
    share: float = 1.0,
) -> torch.optim.AdamW:
    """AdamW. Weight decay acts on matrices and convolution kernels, not on biases and normalisation scales.

    slow: more parameters, whose learning rate is multiplied by `share`. Each group holds its factor as "share".
    """
    groups = []
    for own, rate in ((list(parameters), 1.0), (list(slow), share)):
        matrices, others = [p for p in own if p.dim() > 1], [p for p in own if p.dim() <= 1]
        groups += [
            {"params": group, "weight_decay": decay, "share": rate, "lr": rate * learning_rate}
            for group, decay in ((matrices, weight_decay), (others, 0.0))
            if group
        ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.99))


def learning_rate(step: int, steps: int, peak: float, warmup: int, cosine: bool = True) -> float:
    """Learning rate of step `step` of `steps`, counted from 0.

    It rises linearly to `peak` over `warmup` steps, then falls along a cosine to 2 % of it.
    cosine: without it, the rate stays at `peak` after the warm-up.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    if not cosine:
        return peak
    t = (step - warmup) / max(1, steps - warmup)
    return peak * (FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * min(1.0, t))))


def average_decay(ema: float, step: int) -> float:
    """Decay of the averaged weights after `step` steps: `ema`, but lower at first, to forget the initial weights."""
    return min(ema, step / (step + 10))
