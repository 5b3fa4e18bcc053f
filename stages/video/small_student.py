"""A render along a path and the two photographs -> the repaired clip, by `small`: any size, any number of frames, one step or several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.errors import InputError, RunError
from stages.scene import Clip, Views
from stages.video.one_step import Backbone, several_steps
from stages.video.schedule import STEPS
from stages.video.small_codec import FRAMES, decode, encode
from stages.video.small_condition import condition
from stages.video.warp import Warped, warp

MULTIPLE = 16  # sides are extended to multiples of this

Leap = int | Callable[[Tensor, Tensor], int]
"""The timestep to leap to, or what chooses it: (render's latent [1, T, 192, H, W], coverage [1, F, h, w]) -> 1 to 999."""


def small_student(backbone: Backbone, leap: Leap, seed: int = 0, steps: int = 1) -> Callable[[Clip, Views], Clip]:
    """The student for `stages.generate.repair`. Raises InputError for a clip without coverage or depth.

    backbone: a trained `SmallVideo`.  seed: of the noise, which is drawn on the CPU: the same seed, the same clip.
    steps: of the sampler, evenly spaced from the leap down; 1 is what it was distilled for.
    """
    if steps < 1 or (isinstance(leap, int) and not 0 < leap < STEPS):
        raise InputError("bad sampler", f"{steps} steps from t = {leap}", f"give at least 1 step from 1 to {STEPS - 1}")

    @torch.no_grad()
    def repair(clip: Clip, views: Views) -> Clip:
        if clip.coverage is None or clip.depth is None:
            raise InputError("cannot repair the clip", "it has no coverage or no depth", "render it with this program")
        frames = repair_frames(backbone, clip.frames, clip.coverage, views.images, warp(views, clip.cameras, clip.depth), leap, seed, steps)
        return replace(clip, frames=frames)

    return repair


def repair_frames(
    backbone: Backbone,
    frames: Tensor,
    coverage: Tensor,
    photographs: Tensor,
    warped: Warped,
    leap: Leap,
    seed: int = 0,
    steps: int = 1,
) -> Tensor:
    """The chain on pixels: encode, leap, denoise, decode.

    frames: [F, 3, h, w] in [0, 1].  coverage: [F, h, w].  photographs: [2, 3, ...], stretched to h x w if they are not.
    warped: the photographs from the frames' cameras.  leap, seed, steps: see `small_student`.  Returns frames like `frames`, in [0, 1].
    Raises RunError if they are not finite.
    """
    count, _, h, w = frames.shape
    photographs = photographs if photographs.shape[-2:] == (h, w) else F.interpolate(photographs, (h, w), mode="bicubic", antialias=True)
    known = extend(coverage[:, None])[None, :, 0]
    latent = encode(extend(frames)[None])
    seen = Warped(extend(warped.colours.flatten(1, 2)).unflatten(1, (2, 3))[None], extend(warped.weight)[None])
    beside = condition(latent, known, extend(photographs, still=True)[None].clamp(0, 1), seen)
    first = leap if isinstance(leap, int) else leap(latent, known)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(seed))
    x = several_steps(backbone, latent, beside, torch.tensor([first]), noise, steps)
    out = decode(x)[0, :count, :, :h, :w].clamp(0, 1)
    if not bool(torch.isfinite(out).all()):
        raise RunError("the student's frames hold NaN or infinite values", "its weights are damaged", "train or install them again")
    return out


def extend(frames: Tensor, still: bool = False) -> Tensor:
    """Repeat the last row and column up to multiples of 16 and, unless `still`, the last frame up to 4k + 1, k > 0. [F, C, h, w]."""
    h, w = frames.shape[-2:]
    frames = F.pad(frames, (0, -w % MULTIPLE, 0, -h % MULTIPLE), mode="replicate")
    missing = 0 if still else max((1 - len(frames)) % FRAMES, FRAMES + 1 - len(frames))
    return torch.cat([frames, frames[-1:].expand(missing, -1, -1, -1)])
