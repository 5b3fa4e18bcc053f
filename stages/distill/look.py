"""What a training run shows of itself: clips that it is not trained on, as pictures and as figures."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.distill.model import Batch, Model
from stages.video.one_step import Backbone, one_step

COLUMNS = 5  # frames of a clip that are shown


@torch.no_grad()
def look(model: Model, backbone: Backbone, batches: list[Batch], noises: list[Tensor], t: int) -> tuple[Tensor, dict[str, float]]:
    """The one-step prediction from t on some clips.

    batches, noises: a clip each, noise like its latent.  Returns a picture [3, h, w] of the first clip, with rows render, prediction and
    truth, and means over all clips: PSNR of the render and of the prediction, and the mean squared error of its latent.
    """
    rows: list[Tensor] = []
    sums = torch.zeros(3)
    for batch, noise in zip(batches, noises, strict=True):
        x0 = one_step(backbone, batch.z_render, batch.condition, torch.full((1,), t, device=noise.device), noise)
        made = model.decode(x0).clamp(0, 1)
        sums += torch.tensor([_psnr(batch.render, batch.truth), _psnr(made, batch.truth), float(((x0 - batch.z_truth) ** 2).mean())])
        rows = rows or [_row(frames[0]) for frames in (batch.render, made, batch.truth)]
    psnr_render, psnr, latent = (sums / len(batches)).tolist()
    return torch.cat(rows, 1).cpu(), {"psnr_render": psnr_render, "psnr": psnr, "latent": latent}


def _row(frames: Tensor) -> Tensor:
    chosen = torch.linspace(0, len(frames) - 1, COLUMNS).round().long()
    return torch.cat(list(frames[chosen]), 2).float()


def _psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * ((a - b).float() ** 2).mean(dtype=torch.float64).clamp(min=1e-12).log10())
