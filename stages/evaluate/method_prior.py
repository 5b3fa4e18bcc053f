"""Methods built on the trained prior, for the two-view protocol."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from stages.errors import InputError
from stages.evaluate.method_baselines import Method
from stages.evaluate.shared import Last
from stages.generate import Student, repair
from stages.prior.network import MVSplat
from stages.prior.pose import near_far_from_cameras
from stages.prior.predict import predict
from stages.render import render
from stages.scene import Cameras, Clip, Gaussians, Views
from stages.trajectory import through

FRAMES = 13  # of the clip that a student repairs, where it takes any number: the least; more where more targets are asked for


Prior = Callable[[Views], tuple[Gaussians, Views]]
"""Two photographs with their cameras -> the scene, and the photographs with the depth that was found in them."""


def open_prior(network: MVSplat, ranges: Callable[[Views], Tensor]) -> Prior:
    """What the prior makes of photographs with their true cameras, once a case. ranges: their depth ranges, [2, 2]."""

    def prior(context: Views) -> tuple[Gaussians, Views]:
        prediction = predict(context, ranges(context), network)
        return prediction.gaussians, replace(context, depth=prediction.depth)

    return Last(prior)


def depth_ranges() -> Callable[[Views], Tensor]:
    """The depth range of each photograph from matches, once a case."""
    return Last(lambda context: near_far_from_cameras(list(context.images), context.cameras))


def render_prior(prior: Prior) -> Method:
    """The prior's Gaussians, rendered: what `videoscene prior` and `render` make, with the true cameras."""

    def method(context: Views, cameras: Cameras, times: Tensor) -> Clip:
        gaussians, _ = prior(context)
        return render(gaussians, cameras.to(gaussians.means), views=context)

    return method


def repair_prior(prior: Prior, student: Student, frames: int | None = None) -> Method:
    """What `videoscene generate` makes: the render of a clip, repaired. The clip passes the target cameras at frames of its own.

    frames: of the clip, or None for as few as it takes, 4k + 1.  Where a student repairs the middle of the frames alone, the rest stays
    the render.
    """

    def method(context: Views, cameras: Cameras, times: Tensor) -> Clip:
        gaussians, context = prior(context)
        count = frames or max(FRAMES, 4 * math.ceil((len(times) + 1) / 4) + 1)
        path, shown = clip_through(context.cameras, cameras, times, count)
        clip = render(gaussians, path.to(gaussians.means), views=context)
        whole = paste(repair(clip, context, student), clip)
        assert clip.coverage is not None, "a render knows it"
        assert clip.depth is not None, "a render knows it"
        return Clip(whole[shown], cameras, clip.coverage[shown], depth=clip.depth[shown])

    return method


def clip_through(ends: Cameras, cameras: Cameras, times: Tensor, frames: int) -> tuple[Cameras, list[int]]:
    """A path of `frames` cameras from one photograph to the other that passes `cameras` as near to their times as can be.

    times: [T], 0 at the first photograph, 1 at the second.  Returns the path and the frame of each of `cameras`.
    Raises InputError for times outside [0, 1], or more of them than the path has frames.
    """
    inner = sorted({float(time) for time in times} - {0.0, 1.0})
    if inner and (inner[0] < 0 or inner[-1] > 1):
        raise InputError("no clip through the targets", "some lie beyond the photographs", "give targets between the context frames")
    if len(inner) > frames - 2:
        why = f"{len(inner)} targets, a clip has {frames} frames"
        raise InputError("no clip through the targets", why, "give fewer targets a case")
    places = [0, *(round(time * (frames - 1)) for time in inner), frames - 1]
    for index in range(1, len(places) - 1):
        places[index] = max(places[index], places[index - 1] + 1)
    for index in range(len(places) - 2, 0, -1):
        places[index] = min(places[index], places[index + 1] - 1)
    place = dict(zip([0.0, *inner, 1.0], places, strict=True))
    targets = {float(time): index for index, time in enumerate(times)}
    picked = [targets[time] for time in inner]
    knots = Cameras(
        torch.cat([ends.c2w[:1], cameras.c2w[picked], ends.c2w[1:]]), torch.cat([ends.K[:1], cameras.K[picked], ends.K[1:]]), cameras.size
    )
    return through(knots, places), [place[float(time)] for time in times]


def paste(repaired: Clip, clip: Clip) -> Tensor:
    """The frames of `clip` with those of `repaired`, which may show a middle part of them, in their place."""
    (h, w), frames = repaired.cameras.size, clip.frames.clone()
    left, top = (clip.cameras.K[0, :2, 2] - repaired.cameras.K[0, :2, 2]).round().long().tolist()
    frames[:, :, top : top + h, left : left + w] = repaired.frames.to(frames)
    return frames
