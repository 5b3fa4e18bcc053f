"""How networks are optimised here, the prior as the students: AdamW, a warm-up, a cosine, averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

LAST = 0.02  # learning rate at the end of the cosine, as a share of the peak


def adamw(parameters: Iterable[Tensor], learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW that decays matrices alone: biases, norms and scales are left where the loss wants them."""
    every = list(parameters)
    matrices, others = [p for p in every if p.dim() > 1], [p for p in every if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.99))


def learning_rate(step: int, steps: int, peak: float, warmup: int, cosine: bool = True) -> float:
    """Of step `step`, from 0, of `steps`: a linear warm-up of `warmup` steps, then a cosine to 2 % of the peak, or the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    if not cosine:
        return peak
    t = (step - warmup) / max(1, steps - warmup)
    return peak * (LAST + (1 - LAST) * 0.5 * (1 + math.cos(math.pi * min(1.0, t))))


def average_decay(ema: float, step: int) -> float:
    """Decay of the averaged weights after `step` steps: less at the start, so that the first weights are soon forgotten."""
    return min(ema, step / (step + 10))
