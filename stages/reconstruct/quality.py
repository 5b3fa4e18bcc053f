"""How well a scene shows its targets."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.metrics.image import as_stored, psnr
from stages.reconstruct.targets import Targets
from stages.render import render
from stages.scene import Cameras, Gaussians


def quality(gaussians: Gaussians, targets: Targets, cameras: Cameras) -> dict[str, float | None]:
    """Mean PSNR (dB) over the photographs and over the frames, drawn from `cameras`; None where there are none that count.

    cameras: of the targets, as given or as refined. Holes are filled and pictures rounded to 8 bits, as in a video.
    """
    drawn = as_stored(render(gaussians, cameras[: targets.counted].to(gaussians.means)).frames.cpu())
    values = psnr(drawn, targets.images[: targets.counted].cpu())
    return {"photographs": _mean(values[: targets.photographs]), "frames": _mean(values[targets.photographs :])}


def _mean(values: Tensor) -> float | None:
    finite = values[torch.isfinite(values)]
    return round(float(finite.mean()), 3) if len(finite) else None


def doubted(losses: Tensor, photographs: int, tolerance: float) -> list[int]:
    """The frames, as indices into the targets, whose loss is more than `tolerance` times the frames' median: they counted less."""
    frames = losses[photographs:]
    bound = tolerance * frames.nanmedian() if len(frames) else torch.zeros(())
    return (photographs + torch.nonzero(frames > bound)[:, 0]).tolist()
