"""How well a scene shows its targets."""

import torch
from torch import Tensor

from stages.files.images import as_in_png
from stages.metrics.image import psnr
from stages.reconstruct.targets import Targets
from stages.render import render
from stages.scene import Cameras, Gaussians


def quality(gaussians: Gaussians, targets: Targets, cameras: Cameras) -> dict[str, float | None]:
    """Mean PSNR (dB) over the photographs, and over the frames that count. A mean of no values is None.

    Images that are rendered exactly have an infinite PSNR and are left out of the means.
    cameras: the targets' cameras, as given or as refined.
    Images are rendered as for a video: holes are filled, values rounded to 8 bits.
    """
    pictures = as_in_png(render(gaussians, cameras[: targets.counted].to(gaussians.means)).frames)
    values = psnr(pictures, targets.images[: targets.counted])
    return {"photographs": _mean(values[: targets.photographs]), "frames": _mean(values[targets.photographs :])}


def _mean(values: Tensor) -> float | None:
    finite = values[torch.isfinite(values)]
    return round(float(finite.mean()), 3) if len(finite) else None


def outlier_frames(losses: Tensor, photographs: int, tolerance: float) -> list[int]:
    """Indices among the targets of the frames that counted less, with a loss above `tolerance` times the median."""
    frames = losses[photographs:]
    bound = tolerance * frames.nanmedian() if len(frames) else torch.zeros(())
    return (photographs + torch.nonzero(frames > bound)[:, 0]).tolist()
