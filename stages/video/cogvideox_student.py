"""CogVideoX at work: a render along a path and the two photographs -> the repaired clip, in one step.

This is the released videoscene/pipeline.py, function video_gen, except where the released code loses quality: it passes
the render through a lossy video file, stretches frames to the network's proportions, and rounds the coefficients of the
step to bfloat16. Its program for photographs without cameras also uses the first and last rendered frame in place of
the photographs.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.errors import InputError, RunError
from stages.scene import Clip, Views
from stages.video.cogvideox_network import TRANSFORMER_5B, CogVideoX
from stages.video.full_size import cut_out
from stages.video.one_step import one_step, place_ends, sample_sigma, several_steps
from stages.video.timesteps import STEPS

Choose = Callable[[Tensor, Tensor], int]
"""(render's latent [1, T, 16, H, W], coverage [1, F, h, w]) -> leap step."""


@dataclass(frozen=True)
class StepSettings:
    """How the one step is set up.

    t: leap step, 0 to 999.  steps: number of sampler steps from t down.  seed: seed of all noise.
    """

    t: int = 459
    seed: int = 0
    steps: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.t < STEPS:
            raise InputError("bad leap step", f"t is {self.t}", f"give 0 to {STEPS - 1}")
        if self.steps < 1:
            raise InputError("bad sampler", f"{self.steps} steps", "give at least 1")


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
            why = f"{len(views.cameras)} photographs"
            raise InputError("cannot repair the clip with cogvideox-5b", why, "give two")
        top, left, *size = largest_crop(clip.cameras.size, model.size)
        clip = cut_out(clip, top, left, (size[0], size[1]))
        ends = _photographs(views, model.size)
        frames, leap = repair_frames(model, clip.frames, ends, settings, _policy_of_clip(choose, clip.coverage))
        return replace(clip, frames=frames, leap=leap)

    return repair


def _policy_of_clip(choose: Choose | None, coverage: Tensor | None) -> Callable[[Tensor], int] | None:
    """A policy for one clip with this coverage, [F, h, w]."""
    if choose is None:
        return None
    if coverage is None:
        why = "the clip has no coverage"
        raise InputError("cannot choose a leap step", why, "render it with this program, or give --leap T")
    return lambda latent: choose(latent, coverage[None])


def repair_frames(
    model: CogVideoX,
    frames: Tensor,
    ends: Tensor,
    settings: StepSettings,
    choose: Callable[[Tensor], int] | None = None,
) -> tuple[Tensor, int]:
    """The chain on pixels: encode, add noise, call the network settings.steps times, decode.

    frames: [F, 3, h, w] in [0, 1], resized to the network's size and back.  ends: [2, 3, *model.size] in [0, 1].
    choose: (render's latent [1, T, 16, H, W]) -> leap step, in place of settings.t.
    All noise comes from one CPU generator in the order of the released code, so a seed gives the same noise on every
    device. Returns frames like `frames`, and the leap step.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    latent = model.encode((2 * _resize(frames, model.size) - 1).transpose(0, 1)[None], generator)
    condition = encode_ends(model, ends, latent.shape[1], generator)
    # The noise keeps the strides of the codec's output: they decide the order in which torch fills it, here as in the
    # released code.
    noise = torch.empty_like(latent, device="cpu").normal_(generator=generator).to(latent.device)
    leap = settings.t if choose is None else choose(latent)
    t = torch.tensor([leap], device=latent.device)
    if settings.steps == 1:
        x0 = one_step(model, latent, condition, t, noise)
    else:
        x0 = several_steps(model, latent, condition, t, noise, settings.steps)
    out = model.decode(x0)[0].transpose(0, 1).to(frames)
    if not bool(torch.isfinite(out).all()):
        why = "its weights are damaged, or its precision is too low"
        raise RunError("the student's frames hold NaN or infinite values", why, "try --device cpu, in float32")
    return _resize((out / 2 + 0.5).clamp(0, 1), (frames.shape[-2], frames.shape[-1])), leap


def encode_ends(model: CogVideoX, ends: Tensor, frames: int, generator: torch.Generator) -> Tensor:
    """The condition of two images: each gets noise, is encoded alone and stands at its end of the clip.

    ends: [2, 3, h, w] in [0, 1]. The noise of both has the same strength.
    frames: latent frames T.  generator: source of the noise and of the codec's samples.  Returns [1, T, 16, H, W].
    """
    images = (2 * ends - 1).to(model.memory.dtype)
    sigma = sample_sigma(generator, images)
    latents = []
    for image in images:
        image = image + sigma * torch.randn(image.shape, generator=generator, dtype=image.dtype).to(image)
        latents.append(model.encode(image[None, :, None], generator))
    return place_ends(latents[0], latents[1], frames)


def largest_crop(size: tuple[int, int], like: tuple[int, int]) -> tuple[int, int, int, int]:
    """The largest centred part of `size` with the proportions of `like`: top, left, height, width. Both sides are even.

    size, like: (h, w).
    """
    h, w = size
    height = min(h, 2 * round(w * like[0] / like[1] / 2))
    width = min(w, 2 * round(h * like[1] / like[0] / 2))
    return (h - height) // 2, (w - width) // 2, height, width


def _photographs(views: Views, size: tuple[int, int]) -> Tensor:
    """The centres of the two photographs at the network's size, [2, 3, h, w]."""
    images = (views.full or views).images
    top, left, height, width = largest_crop((images.shape[-2], images.shape[-1]), size)
    return _resize(images[:, :, top : top + height, left : left + width], size)


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images, size, mode="bicubic", antialias=True).clamp(0, 1)
