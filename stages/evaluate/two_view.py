"""The two-view protocol: a method gets two photographs and all cameras, and makes the frames between; they are compared with the truth.

A figure of a case is the mean over its target frames, a figure of a set the mean over its cases, so that long cases do not outweigh
short ones. Frames are rounded to 8 bits before they are measured, at the full size of the photographs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stages.errors import RunError
from stages.evaluate.baselines import Method
from stages.evaluate.cases import Case, load_task
from stages.metrics.image import as_stored, psnr, ssim
from stages.scene import Cameras, Clip

# (frames, truth) -> one figure a frame
Metric = Callable[[Tensor, Tensor], Tensor]
PIXEL_METRICS: Mapping[str, Metric] = {"psnr": psnr, "ssim": ssim}

PROTOCOL = {
    "name": "two-view",
    "version": 1,
    "given": "the two context photographs and the true cameras of all frames",
    "size": "full size of the photographs",
    "frames": "rounded to 8 bits before measuring",
    "mean": "over the target frames of a case, then over cases",
    "psnr": "dB, peak 1, mean squared error over all pixels and channels",
    "ssim": "Gaussian window 11, sigma 1.5, sample covariance, whole windows, mean over RGB (scikit-image's, as pixelSplat sets it)",
    "context psnr": "the method's own frames at the two context cameras against the photographs",
}


@dataclass(frozen=True)
class Result:
    """What a method made of a case and how good it is.

    clip: the target frames, 8-bit values.  figures: metric -> one figure a target frame.  context_psnr: dB at the two context
    cameras.  seconds: of the method alone.
    """

    case: Case
    clip: Clip
    figures: Mapping[str, list[float]]
    context_psnr: list[float]
    seconds: float

    def record(self) -> dict[str, Any]:
        """The result as JSON; an infinite PSNR (equal images) is null."""
        return {
            "case": self.case.name,
            "scene": self.case.scene.name,
            "kind": self.case.kind,
            "context": list(self.case.context),
            "target": list(self.case.targets),
            "seconds": round(self.seconds, 3),
            "mean": {name: _finite(sum(values) / len(values)) for name, values in self.figures.items()},
            "frames": {name: [_finite(value) for value in values] for name, values in self.figures.items()},
            "context psnr": [_finite(value) for value in self.context_psnr],
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def measure(case: Case, method: Method, metrics: Mapping[str, Metric] = PIXEL_METRICS) -> Result:
    """Run a method on a case and compare with the truth.

    Raises InputError if the case cannot be read, RunError if the method's frames are of another number or size, or not finite.
    """
    task = load_task(case)
    cameras = Cameras(
        torch.cat([task.context.cameras.c2w, task.cameras.c2w]), torch.cat([task.context.cameras.K, task.cameras.K]), task.cameras.size
    )
    start = time.perf_counter()
    frames = method(task.context, cameras, torch.cat([torch.tensor([0.0, 1.0]), task.times]))
    seconds = time.perf_counter() - start
    wanted = (len(cameras), 3, *cameras.size)
    if frames.shape != wanted:
        raise RunError(f"the method failed on {case.name}", f"it made {tuple(frames.shape)} frames for {wanted}", "report this")
    if not torch.isfinite(frames).all():
        raise RunError(f"the method failed on {case.name}", "its frames hold NaN or infinite values", "report this")
    frames = as_stored(frames)
    figures = {name: metric(frames[2:], task.truth).tolist() for name, metric in metrics.items()}
    return Result(case, Clip(frames[2:], task.cameras), figures, psnr(frames[:2], task.context.images).tolist(), seconds)


def summarise(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over the records of one method.

    Returns kind -> {"cases": number, "mean": {metric: mean of the case means}, "context psnr": {"mean", "worst"}, "seconds": mean}.
    """
    summary: dict[str, Any] = {}
    for kind in sorted({record["kind"] for record in records}):
        of_kind = [record for record in records if record["kind"] == kind]
        context = [value for record in of_kind for value in record["context psnr"]]
        summary[kind] = {
            "cases": len(of_kind),
            "mean": {name: _mean([record["mean"][name] for record in of_kind]) for name in of_kind[0]["mean"]},
            "context psnr": {"mean": _mean(context), "worst": min((value for value in context if value is not None), default=None)},
            "seconds": _mean([record["seconds"] for record in of_kind]),
        }
    return summary


def _mean(values: Sequence[float | None]) -> float | None:
    """None if one of them is: an infinite figure makes an infinite mean."""
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if len(numbers) == len(values) else None
