"""Methods built on the trained prior, for the two-view protocol."""

import functools
import math
from collections.abc import Callable
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor

from stages.errors import InputError
from stages.evaluate.method_baselines import Method
from stages.pipeline import CoarseScene, Student, predict_gaussians, render_path, repair_clip
from stages.prior.network import MVSplat
from stages.prior.pose import match_views
from stages.scene import Cameras, Clip, Views
from stages.sizes import resized_cameras, with_small_images
from stages.trajectory import through
from stages.video.full_size import part_shown

FRAMES = 13  # smallest number of frames of a clip that a student repairs; more targets need more frames


Prior = Callable[[Views], CoarseScene]
"""Two photographs with their cameras -> the Gaussians, and the photographs with their predicted depth."""


Matched = Callable[[Views], tuple[Views, Tensor]]
"""Two photographs with their cameras -> the same with matched points, and their depth ranges [2, 2]."""


def open_prior(network: MVSplat, matched: Matched) -> Prior:
    """The prior on photographs with the cameras of the task, in the networks' size. It runs once per case.

    With --unposed, the cameras of the task are estimated ones. Otherwise they are the true ones.
    """

    def prior(context: Views) -> CoarseScene:
        return predict_gaussians(*matched(with_small_images(context)), network)

    return functools.lru_cache(maxsize=1)(prior)


def match_photographs() -> Matched:
    """`match_views`, which matches the photographs of a case only once."""
    return functools.lru_cache(maxsize=1)(match_views)


def render_prior(prior: Prior) -> Method:
    """The prior's Gaussians, rendered from the task's cameras: what `videoscene prior` and `render` produce."""

    def method(context: Views, cameras: Cameras, times: Tensor) -> Clip:
        scene = prior(context)
        return replace(render_path(scene.gaussians, scene.views, cameras).clip(), cameras=cameras)

    return method


def repair_prior(prior: Prior, student: Student | None, frames: int | None = None) -> Method:
    """The repaired render: what `videoscene generate` produces. The clip passes the target cameras at some frames.

    frames: number of frames of the clip, 4k + 1, or None for the smallest that is enough. If a student repairs only the
    centre of each frame, the rest shows the render.
    """

    def method(context: Views, cameras: Cameras, times: Tensor) -> Clip:
        scene = prior(context)
        count = frames or max(FRAMES, 4 * math.ceil((len(times) + 1) / 4) + 1)
        path, shown = clip_through(context.cameras, cameras, times, count)
        stored = render_path(scene.gaussians, scene.views, path)
        clip, repaired = stored.clip(), repair_clip(stored, scene.views, student).clip()
        pasted = paste(repaired, clip)
        assert clip.coverage is not None, "a render knows it"
        assert clip.depth is not None, "a render knows it"
        return Clip(pasted[shown], cameras, clip.coverage[shown], depth=clip.depth[shown], leap=repaired.leap)

    return method


def enlarged(method: Method) -> Method:
    """A method in the networks' size, with enlarged frames: a result without the full detail of the photographs."""

    def enlarge(context: Views, cameras: Cameras, times: Tensor) -> Clip:
        small = with_small_images(context)
        clip = method(replace(small, full=None), resized_cameras(cameras, small.cameras.size), times)
        frames = F.interpolate(clip.frames, cameras.size, mode="bicubic", align_corners=False).clamp(0, 1)
        return Clip(frames, cameras, leap=clip.leap)

    return enlarge


def clip_through(ends: Cameras, cameras: Cameras, times: Tensor, frames: int) -> tuple[Cameras, list[int]]:
    """A path of `frames` cameras between the photographs that passes `cameras` as near to their times as possible.

    times: [T], 0 at the first photograph and 1 at the second.  Returns the path, and the frame of each of `cameras`.
    Raises InputError for times outside [0, 1], and for more targets than the path has frames.
    """
    # Check that the targets fit into the path.
    inner = sorted({float(time) for time in times} - {0.0, 1.0})
    if inner and (inner[0] < 0 or inner[-1] > 1):
        why, hint = "some lie beyond the photographs", "give targets between the context frames"
        raise InputError("no clip through the targets", why, hint)
    if len(inner) > frames - 2:
        why = f"{len(inner)} targets, a clip has {frames} frames"
        raise InputError("no clip through the targets", why, "give fewer targets per case")
    # Give every target the frame nearest to its time; move those that share a frame apart.
    positions = [0, *(round(time * (frames - 1)) for time in inner), frames - 1]
    for index in range(1, len(positions) - 1):
        positions[index] = max(positions[index], positions[index - 1] + 1)
    for index in range(len(positions) - 2, 0, -1):
        positions[index] = min(positions[index], positions[index + 1] - 1)
    # Lay the path through these cameras.
    frame_of = dict(zip([0.0, *inner, 1.0], positions, strict=True))
    targets = {float(time): index for index, time in enumerate(times)}
    order = [targets[time] for time in inner]
    knots = ends[:1].joined(cameras[order]).joined(ends[1:])
    return through(knots, positions), [frame_of[float(time)] for time in times]


def paste(repaired: Clip, clip: Clip) -> Tensor:
    """The frames of `clip`, with those of `repaired` pasted in, which may show only the centre of each frame."""
    frames = clip.frames.clone()
    part_shown(frames, clip.cameras, repaired.cameras).copy_(repaired.frames)
    return frames
