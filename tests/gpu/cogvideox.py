"""CogVideoX-5B at full size with random weights: seconds and memory of each part, then one setting after another."""

import time
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from stages.video.cogvideox_memory import Memory
from stages.video.cogvideox_network import TRANSFORMER_5B, VAE_5B, CogVideoX
from stages.video.cogvideox_student import StepSettings, encode_ends, repair_frames
from stages.video.one_step import one_step
from tests.gpu.findings import Findings, Timed
from tests.tools.benchmark_cogvideox import random_model
from tests.video.tiny import TRANSFORMER, VAE


@dataclass(frozen=True)
class Input:
    """A random clip [1, 3, frames, h, w] in [-1, 1], and the two photographs [2, 3, h, w]."""

    video: Tensor
    images: Tensor
    generator: torch.Generator


def check(findings: Findings) -> None:
    configs = (TRANSFORMER, VAE) if findings.dry else (TRANSFORMER_5B, VAE_5B)
    start = time.perf_counter()
    model = random_model(findings.device, Memory(torch.float32 if findings.dry else torch.bfloat16), *configs)
    findings.wait()
    findings.tell("random weights", f"{time.perf_counter() - start:.1f} s, {findings.gib():.1f} GiB")
    g = torch.Generator().manual_seed(0)
    video, images = (torch.rand(*shape, *model.size, generator=g) for shape in ((1, 3, model.frames), (2, 3)))
    given = Input(2 * video - 1, images, g)
    findings.attempt("as written", lambda: _parts(findings, "as written", model, given))
    findings.attempt("pixels to pixels", lambda: _whole(findings, model, given))
    with torch.backends.cudnn.flags(enabled=True, benchmark=True):
        findings.attempt("+ cudnn.benchmark", lambda: _parts(findings, "+ cudnn.benchmark", model, given))
        if not findings.dry:
            _attention(findings, model)
        for module in model.vae.modules():
            if isinstance(module, torch.nn.Conv3d):
                module.weight.data = module.weight.data.to(memory_format=torch.channels_last_3d)
        name = "+ the codec's weights in channels_last_3d"
        findings.attempt(name, lambda: _parts(findings, name, model, given))
        if not findings.dry:  # the tiny codec is smaller than a tile may be
            model.vae.enable_tiling()
            findings.attempt("+ tiling", lambda: _parts(findings, "+ tiling", model, given))


@torch.no_grad()
def _parts(findings: Findings, name: str, model: CogVideoX, given: Input) -> None:
    g = given.generator
    encode = findings.timed(lambda: model.encode(given.video, g), 2)
    latent = encode.result
    ends = findings.timed(lambda: encode_ends(model, given.images, latent.shape[1], g), 2)
    t, noise = torch.tensor([459], device=findings.device), torch.randn_like(latent)
    step = findings.timed(lambda: one_step(model, latent, ends.result, t, noise), 2)
    decode = findings.timed(lambda: model.decode(step.result), 2)
    parts: dict[str, Timed] = {"encode": encode, "photographs": ends, "step": step, "decode": decode}
    told = ", ".join(f"{part} {timed.seconds:.3f} s {timed.gib:.1f} GiB" for part, timed in parts.items())
    total, most = sum(timed.seconds for timed in parts.values()), max(timed.gib for timed in parts.values())
    findings.tell(name, f"{total:.3f} s, {most:.1f} GiB: {told}", bool(decode.result.isfinite().all()))


@torch.no_grad()
def _whole(findings: Findings, model: CogVideoX, given: Input) -> None:
    frames = (given.video[0].transpose(0, 1) + 1) / 2
    took = findings.timed(lambda: repair_frames(model, frames, given.images, StepSettings()), 1, 0)
    findings.tell("pixels to pixels", f"{took.seconds:.3f} s")


def _attention(findings: Findings, model: CogVideoX) -> None:
    """One step with either kernel for attention, then with its blocks compiled."""
    t = torch.tensor([459], device=findings.device)
    x = torch.randn(1, 13, 32, 60, 90, device=findings.device).bfloat16()

    def step(name: str, *kinds: SDPBackend) -> None:
        start = time.perf_counter()
        with torch.no_grad(), sdpa_kernel(list(kinds)):
            took = findings.timed(lambda: model(x, t))
        with_first = time.perf_counter() - start
        findings.tell(f"one step, {name}", f"{took.seconds:.3f} s, four calls {with_first:.0f} s")

    flash, cudnn = SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION
    findings.attempt("flash attention", lambda: step("flash attention", flash))
    findings.attempt("cuDNN's attention", lambda: step("cuDNN's attention", cudnn))
    for block in model.transformer.transformer_blocks:
        block.compile()
    findings.attempt("blocks compiled", lambda: step("cuDNN's attention, blocks compiled", cudnn, flash))
