"""The two-view protocol: a method gets two photographs and all cameras, and makes the frames between; they are compared with the truth.

A figure of a case is the mean over its target frames, a figure of a set the mean over its cases, so that long cases do not outweigh
short ones. Frames are rounded to 8 bits before they are measured, at the full size of the photographs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stages.errors import RunError
from stages.evaluate.cases import Case, Task
from stages.evaluate.frame_metrics import NOT_AVAILABLE, Instruments
from stages.evaluate.method_baselines import Method
from stages.metrics.fvd import clip_features
from stages.metrics.image import as_stored, psnr, psnr_of_part
from stages.scene import Cameras

FVD_FRAMES = 11  # of a clip: two context frames and nine targets between them, the length of most cases
SEEN = 0.5  # coverage from which a pixel counts as seen

PROTOCOL = {
    "name": "two-view",
    "version": 2,
    "given": "the two context photographs and the true cameras of all frames",
    "size": "full size of the photographs",
    "frames": "rounded to 8 bits before measuring",
    "mean": "over the target frames of a case, then over cases",
    "psnr": "dB, peak 1, mean squared error over all pixels and channels",
    "ssim": "Gaussian window 11, sigma 1.5, sample covariance, whole windows, mean over RGB (scikit-image's, as pixelSplat sets it)",
    "lpips": "version 0.1, VGG16 and AlexNet, at full size",
    "generate": "the clip that a student repairs passes the targets; it has 13 frames, or as many more as it takes (cogvideox-5b: 49)",
    "seconds": "of the method; what the prior predicts is shared, and counts for the first method of a case that needs it",
    "fvd clips": f"cases of at least {FVD_FRAMES} frames, {FVD_FRAMES} of them evenly, context frames included",
    "coverage": f"pixels that the method's Gaussians cover by {SEEN} or more are seen, the others invented; pooled over a case",
    "context psnr": "the method's own frames at the two context cameras against the photographs",
}


@dataclass(frozen=True)
class Made:
    """What a method made of a case.

    frames: [2 + T, 3, h, w], 8-bit values, at the context cameras and then the targets.  cameras: the 2 + T that the method was given.
    coverage, depth: [2 + T, h, w] as of a Clip, or None.
    """

    frames: Tensor
    coverage: Tensor | None
    seconds: float
    cameras: Cameras
    depth: Tensor | None


def make(task: Task, method: Method) -> Made:
    """Run a method on a task. Raises RunError if its frames are of another number or size, or not finite."""
    cameras = Cameras(
        torch.cat([task.context.cameras.c2w, task.cameras.c2w]), torch.cat([task.context.cameras.K, task.cameras.K]), task.cameras.size
    )
    start = time.perf_counter()
    clip = method(task.context, cameras, torch.cat([torch.tensor([0.0, 1.0]), task.times]))
    seconds = time.perf_counter() - start
    wanted = (len(cameras), 3, *cameras.size)
    if clip.frames.shape != wanted:
        raise RunError("the method failed", f"it made {tuple(clip.frames.shape)} frames for {wanted}", "report this")
    if not torch.isfinite(clip.frames).all():
        raise RunError("the method failed", "its frames hold NaN or infinite values", "report this")
    return Made(as_stored(clip.frames), clip.coverage, seconds, cameras, clip.depth)


def compare(case: Case, task: Task, made: Mapping[str, Made], instruments: Instruments) -> dict[str, dict[str, Any]]:
    """Measure what several methods made of one case; they share the work on the truth.

    Returns method -> record, as it goes to JSON: the case, a figure a target frame, their means, PSNR at the context cameras, I3D logits
    of clip and truth where the clip is long enough. An infinite PSNR (equal images) is null, a metric without its network "n/a".
    """
    methods = list(made)
    targets = torch.stack([made[name].frames[2:] for name in methods])
    figures: dict[str, Any] = {}
    for metric, function in instruments.metrics.items():
        if function is None:
            figures[metric] = dict.fromkeys(methods, NOT_AVAILABLE)
            continue
        values = torch.stack([function(targets[:, t], truth) for t, truth in enumerate(task.truth)])  # [T, M]
        figures[metric] = {name: values[:, m].tolist() for m, name in enumerate(methods)}
    features = _features(task, made, instruments)
    return {
        name: {
            "method": name,
            "case": case.name,
            "scene": case.scene.name,
            "kind": case.kind,
            "context": list(case.context),
            "target": list(case.targets),
            "seconds": round(made[name].seconds, 3),
            "mean": {metric: _mean(figures[metric][name]) for metric in figures},
            "frames": {metric: _finite(figures[metric][name]) for metric in figures},
            "context psnr": _finite(psnr(made[name].frames[:2], task.context.images).tolist()),
            "coverage": _split(made[name], task.truth),
            "i3d": features and {"made": features[name], "truth": features["truth"]},
        }
        for name in methods
    }


def _finite(values: list[float] | str) -> list[float | None] | str:
    return values if isinstance(values, str) else [value if math.isfinite(value) else None for value in values]


def _mean(values: list[float] | str) -> float | str | None:
    if isinstance(values, str):
        return values
    mean = sum(values) / len(values)
    return mean if math.isfinite(mean) else None


def _split(made: Made, truth: Tensor) -> dict[str, float | None] | None:
    """Coverage and PSNR of seen and of invented pixels, the targets of a case together, None where there are none or all are exact.

    None if the method does not tell its coverage.
    """
    if made.coverage is None:
        return None
    frames, seen = made.frames[2:], made.coverage[2:] >= SEEN
    share = float(seen.double().mean())
    parts = {name: psnr_of_part(frames, truth, mask) for name, mask in (("psnr seen", seen), ("psnr invented", ~seen))}
    return {"seen": share} | {name: value if value is not None and math.isfinite(value) else None for name, value in parts.items()}


def _features(task: Task, made: Mapping[str, Made], instruments: Instruments) -> dict[str, list[float]] | None:
    """I3D logits of each method's clip and of the true one, in the order of time; None without the network or enough frames."""
    order = torch.cat([torch.tensor([0.0, 1.0]), task.times]).argsort()
    if instruments.i3d is None or len(order) < FVD_FRAMES:
        return None
    order = order[torch.linspace(0, len(order) - 1, FVD_FRAMES).round().long()]
    clips = {name: each.frames for name, each in made.items()} | {"truth": torch.cat([task.context.images, task.truth])}
    return {name: clip_features(instruments.i3d, frames[order]).tolist() for name, frames in clips.items()}
