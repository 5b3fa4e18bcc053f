"""`small` at work: a render along a path and the two photographs -> the repaired clip.

It takes clips of any size and number of frames, and repairs them in one step or more.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.errors import InputError, RunError
from stages.scene import Clip, Views
from stages.video.one_step import several_steps
from stages.video.small_blocks import ClipPixels, small_backbone
from stages.video.small_codec import FRAMES, decode, encode
from stages.video.small_network import SmallVideo
from stages.video.timesteps import STEPS
from stages.video.warp import Warped, warp

# Height and width are extended to multiples of this: 4 pixels per latent pixel, times 4 at the coarsest level.
MULTIPLE = 16

Leap = int | Callable[[Tensor, Tensor], int]
"""The leap step, 1 to 999, or a function (render's latent [1, T, 192, H, W], coverage [1, F, h, w]) -> leap step."""


def dtype_on(device: torch.device) -> torch.dtype:
    """The type in which `small` computes its features: bfloat16 on a CPU that has instructions for it, else float32.

    In bfloat16 they take less time. But without those instructions, or if torch may not use them, they take far more.
    """
    may_use = device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX512"
    return torch.bfloat16 if may_use and torch.cpu._is_avx512_bf16_supported() else torch.float32


def small_student(network: SmallVideo, leap: Leap, seed: int = 0, steps: int = 1) -> Callable[[Clip, Views], Clip]:
    """The function `repair` of a `Student` (full_size.py). It raises InputError for a clip without coverage or depth.

    network: trained, on any device.  seed: seed of the noise, which is sampled on the CPU, so the same seed gives
    the same clip everywhere, but for differences of about one level of 255 between processors.
    steps: number of sampler steps, evenly spaced from the leap step down. The network was distilled for 1.
    """
    if steps < 1 or (isinstance(leap, int) and not 0 < leap < STEPS):
        start = f" from t = {leap}" if isinstance(leap, int) else ""
        hint = f"give at least 1 step, and a leap step t from 1 to {STEPS - 1}"
        raise InputError("bad sampler", f"{steps} steps{start}", hint)

    @torch.no_grad()
    def repair(clip: Clip, views: Views) -> Clip:
        if clip.coverage is None or clip.depth is None:
            raise InputError("cannot repair the clip", "it has no coverage or no depth", "render it with this program")
        frames, t = repair_frames(
            network,
            clip.frames,
            clip.coverage,
            views.images,
            warp(views, clip.cameras, clip.depth, clip.exposure),
            leap,
            seed,
            steps,
        )
        return replace(clip, frames=frames, leap=t)

    return repair


def repair_frames(
    network: SmallVideo,
    frames: Tensor,
    coverage: Tensor,
    photographs: Tensor,
    warped: Warped,
    leap: Leap,
    seed: int = 0,
    steps: int = 1,
) -> tuple[Tensor, int]:
    """The chain on pixels: encode, leap, denoise, decode.

    frames: [F, 3, h, w] in [0, 1].  coverage: [F, h, w].  photographs: [2, 3, ...], resized to h x w where they differ.
    warped: the photographs as the frames' cameras see them.  leap, seed, steps: see `small_student`.
    Returns frames like `frames`, and the leap step. Raises RunError if they are not finite.
    """
    count, _, h, w = frames.shape
    photographs = photographs.to(frames)
    if photographs.shape[-2:] != (h, w):
        photographs = F.interpolate(photographs, (h, w), mode="bicubic", antialias=True)
    pixels = ClipPixels(
        extend(frames),
        extend(coverage[:, None])[:, 0],
        extend(photographs, still=True).clamp(0, 1),
        Warped(extend(warped.colours.flatten(1, 2)).unflatten(1, (2, 3)), extend(warped.weight)),
    )
    latent = encode(pixels.frames[None])
    t = leap if isinstance(leap, int) else leap(latent, pixels.coverage[None])
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(seed)).to(latent)
    backbone, nothing = small_backbone(network, latent, pixels), latent[:, :, :0]
    x = several_steps(backbone, latent, nothing, torch.tensor([t], device=latent.device), noise, steps)
    out = decode(x)[0, :count, :, :h, :w].clamp(0, 1)
    if not bool(torch.isfinite(out).all()):
        why = "its weights are damaged"
        raise RunError("the student's frames hold NaN or infinite values", why, "train or install them again")
    return out, t


def extend(frames: Tensor, still: bool = False) -> Tensor:
    """Repeat the last row, column and frame of a clip until its sizes suit the network.

    Height and width become multiples of 16. The number of frames becomes 4k + 1, and at least 5.
    frames: [F, C, h, w].  still: these are single images, so their number stays.
    """
    h, w = frames.shape[-2:]
    if h % MULTIPLE or w % MULTIPLE:
        frames = F.pad(frames, (0, -w % MULTIPLE, 0, -h % MULTIPLE), mode="replicate")
    missing = 0 if still else max((1 - len(frames)) % FRAMES, FRAMES + 1 - len(frames))
    return torch.cat([frames, frames[-1:].expand(missing, -1, -1, -1)]) if missing else frames
