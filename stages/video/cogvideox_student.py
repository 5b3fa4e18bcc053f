"""CogVideoX at work: a render along a path and the two photographs -> the repaired clip, in one step.

This is the released videoscene/pipeline.py, function video_gen. The default settings differ where the released code
loses quality. UPSTREAM_POSED and UPSTREAM_UNPOSED are the settings of its two programs, mvsplat/src/main.py and
noposplat/src/app.py.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.errors import InputError, RunError
from stages.files.video import read_mp4, write_mp4
from stages.geometry import crop_intrinsics
from stages.scene import Cameras, Clip, Views
from stages.video.cogvideox_network import TRANSFORMER_5B, CogVideoX
from stages.video.one_step import one_step, place_ends, sample_sigma, several_steps
from stages.video.schedule import STEPS

Choose = Callable[[Tensor, Tensor], int]
"""(render's latent [1, T, 16, H, W], coverage [1, F, h, w]) -> leap step."""


@dataclass(frozen=True)
class StepSettings:
    """How the one step is set up.

    t: leap step, 0 to 999.  steps: number of sampler steps from t down.  seed: of all noise.
    condition: the two photographs, or the first and last frame of the render.
    condition_noise: add noise to both images before they are encoded (see `one_step.sample_sigma`).
    posterior: take latents from the codec's posterior by sampling, or take its mode.
    fit: how frames get the network's proportions 3:2. "crop" keeps the middle and changes the cameras with it,
    "stretch" keeps the whole frame.
    recode: pass the render through a lossy H.264 file first.
    rounded: compute the coefficients of a single step in the dtype of the latents (see `schedule.levels`).
    """

    t: int = 459
    seed: int = 0
    condition: Literal["photographs", "render"] = "photographs"
    condition_noise: bool = True
    posterior: Literal["sample", "mode"] = "sample"
    fit: Literal["crop", "stretch"] = "crop"
    recode: bool = False
    rounded: bool = False
    steps: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.t < STEPS:
            raise InputError("bad leap step", f"t is {self.t}", f"give 0 to {STEPS - 1}")
        if self.steps < 1:
            raise InputError("bad sampler", f"{self.steps} steps", "give at least 1")


UPSTREAM_POSED = StepSettings(549, 111123, "photographs", True, "sample", "stretch", recode=True, rounded=True)
UPSTREAM_UNPOSED = StepSettings(459, 111123, "render", True, "sample", "stretch", recode=True, rounded=True)


def require_frames(count: int, needed: int = TRANSFORMER_5B["sample_frames"]) -> None:
    """Raise InputError unless a clip has as many frames as the network takes.

    Call it before reading the weights, which takes long.
    """
    if count != needed:
        why = f"it takes {needed} frames, the clip has {count}"
        raise InputError("cannot repair the clip with cogvideox-5b", why, f"render with --frames {needed}")


def student(model: CogVideoX, settings: StepSettings, choose: Choose | None = None) -> Callable[[Clip, Views], Clip]:
    """The student of the CogVideoX backbone.

    It raises InputError unless a clip has the network's 49 frames and two photographs.

    choose: a policy that picks the clip's leap step in place of settings.t; it needs the clip's coverage.
    """

    @torch.no_grad()
    def repair(clip: Clip, views: Views) -> Clip:
        require_frames(len(clip.cameras), model.frames)
        if len(views.cameras) != 2:
            raise InputError(
                "cannot repair the clip with cogvideox-5b", f"{len(views.cameras)} photographs", "give two"
            )
        if settings.fit == "crop":
            clip = crop_clip(clip, model.size)
        frames = repair_frames(
            model,
            clip.frames,
            _ends(clip, views, model.size, settings),
            settings,
            _policy_of_clip(choose, clip.coverage),
        )
        return replace(clip, frames=frames)

    return repair


def _policy_of_clip(choose: Choose | None, coverage: Tensor | None) -> Callable[[Tensor], int] | None:
    """A policy for one clip with this coverage, [F, h, w]."""
    if choose is None:
        return None
    if coverage is None:
        raise InputError(
            "cannot choose a leap step", "the clip has no coverage", "render it with this program, or give --leap T"
        )
    return lambda latent: choose(latent, coverage[None])


def repair_frames(
    model: CogVideoX,
    frames: Tensor,
    ends: Tensor,
    settings: StepSettings,
    choose: Callable[[Tensor], int] | None = None,
) -> Tensor:
    """The chain on pixels: encode, noise, one call (or settings.steps), decode.

    frames: [F, 3, h, w] in [0, 1], resized to the network's size and back.  ends: [2, 3, *model.size] in [0, 1].
    choose: (render's latent [1, T, 16, H, W]) -> leap step, in place of settings.t.
    All noise comes from one CPU generator in the order of the released code, so a seed gives the same noise on every
    device. Returns frames like `frames`, float32 on the CPU.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    posterior = generator if settings.posterior == "sample" else None
    video = _resize(_recode(frames) if settings.recode else frames, model.size)
    latent = model.encode((2 * video - 1).transpose(0, 1)[None], posterior)
    condition = encode_ends(model, ends, latent.shape[1], posterior, generator if settings.condition_noise else None)
    # The noise keeps the strides of the codec's output: they decide the order in which torch fills it, here as in the
    # released code.
    noise = torch.empty_like(latent, device="cpu").normal_(generator=generator).to(latent.device)
    t = torch.tensor([settings.t if choose is None else choose(latent)], device=latent.device)
    if settings.steps == 1:
        x0 = one_step(model, latent, condition, t, noise, settings.rounded)
    else:
        x0 = several_steps(model, latent, condition, t, noise, settings.steps)
    out = model.decode(x0)[0].transpose(0, 1).float().cpu()
    if not bool(torch.isfinite(out).all()):
        raise RunError(
            "the student's frames hold NaN or infinite values",
            "its weights or its precision",
            "try --device cpu, in float32",
        )
    return _resize((out / 2 + 0.5).clamp(0, 1), (frames.shape[-2], frames.shape[-1]))


def encode_ends(
    model: CogVideoX, ends: Tensor, frames: int, posterior: torch.Generator | None, noise: torch.Generator | None
) -> Tensor:
    """The condition of two images: each gets noise, is encoded alone and stands at its end of the clip.

    ends: [2, 3, h, w] in [0, 1]. The noise of both has the same strength.
    frames: latent frames T.  posterior: see `CogVideoX.encode`.  noise: None adds none.  Returns [1, T, 16, H, W].
    """
    images = (2 * ends - 1).to(model.memory.dtype)
    sigma = sample_sigma(noise, images) if noise is not None else None
    latents = []
    for image in images:
        if sigma is not None:
            image = image + sigma * torch.randn(image.shape, generator=noise, dtype=image.dtype)
        latents.append(model.encode(image[None, :, None], posterior))
    return place_ends(latents[0], latents[1], frames)


def largest_crop(size: tuple[int, int], like: tuple[int, int]) -> tuple[int, int, int, int]:
    """The largest centred part of `size` with the proportions of `like`: top, left, height, width. Both sides are even.

    size, like: (h, w).
    """
    h, w = size
    height = min(h, 2 * round(w * like[0] / like[1] / 2))
    width = min(w, 2 * round(h * like[1] / like[0] / 2))
    return (h - height) // 2, (w - width) // 2, height, width


def crop_clip(clip: Clip, like: tuple[int, int]) -> Clip:
    """The centre of a clip with the proportions of `like` (h, w): frames, coverage, depth and cameras."""
    top, left, height, width = largest_crop(clip.cameras.size, like)
    rows, columns = slice(top, top + height), slice(left, left + width)
    cameras = Cameras(clip.cameras.c2w, crop_intrinsics(clip.cameras.K, left, top), (height, width))
    coverage, depth = (None if maps is None else maps[:, rows, columns] for maps in (clip.coverage, clip.depth))
    return Clip(clip.frames[:, :, rows, columns], cameras, coverage, clip.fps, depth)


def _ends(clip: Clip, views: Views, size: tuple[int, int], settings: StepSettings) -> Tensor:
    """The two images of the condition at the network's size, [2, 3, h, w]. clip: already cropped."""
    images = views.images if settings.condition == "photographs" else clip.frames[[0, -1]]
    if settings.fit == "stretch":  # The released code takes the nearest pixel (videoscene/pipeline.py, video_gen).
        return F.interpolate(images, size, mode="nearest")
    if settings.condition == "photographs":
        top, left, height, width = largest_crop((images.shape[-2], images.shape[-1]), size)
        images = images[:, :, top : top + height, left : left + width]
    return _resize(images, size)


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images, size, mode="bicubic", antialias=True).clamp(0, 1)


def _recode(frames: Tensor) -> Tensor:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "render.mp4"
        write_mp4(path, frames, 8.0)
        return read_mp4(path)
