"""The two-view protocol: a method gets two photographs and all cameras, and its frames are compared with the truth.

The value of a case is the mean over its target frames, and the value of a set is the mean over its cases, so long cases
do not outweigh short ones. Frames are rounded to 8 bits before they are measured, at the full size of the photographs.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stages.errors import RunError
from stages.evaluate.case_record import NOT_AVAILABLE, CaseRecord
from stages.evaluate.cases import Case, Task
from stages.evaluate.frame_metrics import Instruments
from stages.evaluate.method_baselines import Method
from stages.files.images import as_in_png
from stages.metrics.fvd import clip_features
from stages.metrics.image import psnr, psnr_of_part
from stages.scene import Cameras

# Number of frames of a clip for FVD: two context frames and nine targets. This is the most common length of a case.
FVD_FRAMES = 11
SEEN = 0.5  # a pixel counts as seen if its coverage is at least this

PROTOCOL = {
    "name": "two-view",
    "version": 2,
    "given": "the two context photographs and the true cameras of all frames",
    "size": "full size of the photographs",
    "frames": "rounded to 8 bits before measuring",
    "mean": "over the target frames of a case, then over cases",
    "psnr": "dB, peak 1, mean squared error over all pixels and channels",
    "ssim": (
        "Gaussian window 11, sigma 1.5, sample covariance, whole windows, mean over RGB (scikit-image's, as "
        "pixelSplat sets it)"
    ),
    "lpips": "version 0.1, VGG16 and AlexNet, at full size",
    "generate": (
        "the repaired clip passes the targets and has 13 frames, or more if targets need them (cogvideox-5b: 49)"
    ),
    "seconds": "of the method; the prior's prediction is shared and counts for the first method that needs it",
    "fvd clips": f"cases of at least {FVD_FRAMES} frames, {FVD_FRAMES} of them evenly, context frames included",
    "coverage": (
        f"pixels with a coverage of {SEEN} or more are seen, all others invented; all pixels of a case together"
    ),
    "context psnr": "the method's own frames at the two context cameras against the photographs",
}


@dataclass(frozen=True, eq=False)
class MethodResult:
    """The frames of a method for one case.

    frames: [2 + T, 3, h, w], 8-bit values, at the context cameras and then the targets.
    cameras: the same 2 + T cameras.
    coverage, depth: [2 + T, h, w] as in `Clip`, or None.  leap: as in `Clip`.
    """

    frames: Tensor
    coverage: Tensor | None
    seconds: float
    cameras: Cameras
    depth: Tensor | None
    leap: int | None = None


def make(task: Task, method: Method) -> MethodResult:
    """Run a method on a task. Raises RunError if its frames have a wrong number or size, or are not finite."""
    cameras = task.context.cameras.joined(task.cameras)
    start = time.perf_counter()
    clip = method(task.context, cameras, torch.cat([torch.tensor([0.0, 1.0]), task.times]))
    seconds = time.perf_counter() - start
    expected = (len(cameras), 3, *cameras.size)
    if clip.frames.shape != expected:
        raise RunError("the method failed", f"it gave frames {tuple(clip.frames.shape)}, not {expected}", "report this")
    if not torch.isfinite(clip.frames).all():
        raise RunError("the method failed", "its frames hold NaN or infinite values", "report this")
    clip = clip.to(task.truth.device)
    return MethodResult(as_in_png(clip.frames), clip.coverage, seconds, cameras, clip.depth, clip.leap)


def compare(
    case: Case, task: Task, results: Mapping[str, MethodResult], instruments: Instruments
) -> dict[str, CaseRecord]:
    """Measure the results of several methods for one case together, so that they share what is computed of the truth.

    Returns method -> record, without the facts of the method (cameras, student, fingerprint).
    """
    methods = list(results)
    targets = torch.stack([results[name].frames[2:] for name in methods])
    # Every metric of every method, frame by frame.
    figures: dict[str, Any] = {}
    for metric, function in instruments.metrics.items():
        if function is None:
            figures[metric] = dict.fromkeys(methods, NOT_AVAILABLE)
            continue
        values = torch.stack([function(targets[:, t], truth) for t, truth in enumerate(task.truth)])  # [T, M]
        figures[metric] = {name: values[:, m].tolist() for m, name in enumerate(methods)}
    # One record per method.
    features = _features(task, results, instruments)
    return {
        name: CaseRecord(
            method=name,
            case=case.name,
            scene=case.scene.name,
            kind=case.kind,
            context=case.context,
            target=case.targets,
            seconds=round(results[name].seconds, 3),
            mean={metric: _mean(figures[metric][name]) for metric in figures},
            frames={metric: _per_frame(figures[metric][name]) for metric in figures},
            context_psnr=[_finite(value) for value in psnr(results[name].frames[:2], task.context.images).tolist()],
            coverage=_split(results[name], task.truth),
            i3d=features and {"made": features[name], "truth": features["truth"]},
        )
        for name in methods
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _per_frame(values: list[float] | str) -> list[float | None] | str:
    return values if isinstance(values, str) else [_finite(value) for value in values]


def _mean(values: list[float] | str) -> float | str | None:
    return values if isinstance(values, str) else _finite(sum(values) / len(values))


def _split(result: MethodResult, truth: Tensor) -> dict[str, float | None] | None:
    """Coverage, and PSNR of seen and of invented pixels, over all targets of a case together.

    A PSNR is None where there are no such pixels or all are exact. The result is None if the method gives no coverage.
    """
    if result.coverage is None:
        return None
    frames, seen = result.frames[2:], result.coverage[2:] >= SEEN
    share = float(seen.double().mean())
    parts = {"psnr seen": seen, "psnr invented": ~seen}
    return {"seen": share} | {name: _finite(psnr_of_part(frames, truth, mask)) for name, mask in parts.items()}


def _features(
    task: Task, results: Mapping[str, MethodResult], instruments: Instruments
) -> dict[str, list[float]] | None:
    """I3D logits of each method's clip and of the true clip, in time order. None without network or enough frames."""
    order = torch.cat([torch.tensor([0.0, 1.0]), task.times]).argsort()
    if instruments.i3d is None or len(order) < FVD_FRAMES:
        return None
    order = order[torch.linspace(0, len(order) - 1, FVD_FRAMES).round().long()]
    clips = {name: result.frames for name, result in results.items()}
    clips["truth"] = torch.cat([task.context.images, task.truth])
    return {name: clip_features(instruments.i3d, frames[order]).tolist() for name, frames in clips.items()}
