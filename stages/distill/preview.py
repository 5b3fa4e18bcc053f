"""Pictures and numbers that show how a training run goes, on held-out clips."""

from collections.abc import Callable

import torch
from torch import Tensor

from stages.distill.model import Batch, Model
from stages.video.one_step import Backbone, one_step

COLUMNS = 5  # number of frames of the clip in the picture


@torch.no_grad()
def preview(
    model: Model,
    backbone: Backbone,
    batches: list[Batch],
    noises: list[Tensor],
    t: int,
    perceptual: Callable[[Tensor, Tensor], Tensor] | None,
) -> tuple[Tensor, dict[str, float]]:
    """The one-step prediction from t on some clips, as a picture and as numbers.

    batches, noises: one clip each, with noise like its latent.  Returns a picture [3, h, w] of the first clip, with the
    rows render, prediction and truth, and means over all clips: mean squared error of the latent, PSNR, and with
    `perceptual` LPIPS of the middle frame. PSNR and LPIPS are given for the render too.
    """
    rows: list[Tensor] = []
    figures: list[dict[str, float]] = []
    for batch, noise in zip(batches, noises, strict=True):
        x0 = one_step(backbone, batch.z_render, batch.condition, torch.full((1,), t, device=noise.device), noise)
        prediction = model.decode(x0).clamp(0, 1)
        values = {"latent": float(((x0 - batch.z_truth) ** 2).mean())}
        values |= {"psnr_render": _psnr(batch.render, batch.truth), "psnr": _psnr(prediction, batch.truth)}
        if perceptual is not None:
            clips, middle = (batch.render, prediction, batch.truth), [prediction.shape[1] // 2]
            render, repaired, truth = (frames[0, middle].float() for frames in clips)
            values |= {"lpips_render": float(perceptual(render, truth)), "lpips": float(perceptual(repaired, truth))}
        figures.append(values)
        rows = rows or [_row(frames[0]) for frames in (batch.render, prediction, batch.truth)]
    means = {name: sum(values[name] for values in figures) / len(figures) for name in figures[0]}
    return torch.cat(rows, 1).cpu(), means


def _row(frames: Tensor) -> Tensor:
    chosen = torch.linspace(0, len(frames) - 1, COLUMNS).round().long()
    return torch.cat(list(frames[chosen]), 2).float()


def _psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * ((a - b).float() ** 2).mean(dtype=torch.float64).clamp(min=1e-12).log10())
