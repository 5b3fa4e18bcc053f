"""The shipped chain on CUDA against the CPU: prior, render, student, refinement. Seconds, PSNR, the same bits again."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.geometry import resize_intrinsics
from stages.metrics.image import psnr
from stages.prior.load import load_prior
from stages.prior.predict import Prediction, predict, predict_in_range
from stages.prior.prepare import prepare
from stages.reconstruct import Settings, gather, reconstruct
from stages.reconstruct.merge import thin
from stages.reconstruct.quality import quality
from stages.reconstruct.targets import Targets
from stages.render import render
from stages.scene import Cameras, Clip, Views
from stages.trajectory import interpolate
from stages.video.small_files import load_small, read_config
from stages.video.small_student import small_student
from stages.video.warp import warp
from tests.gpu.findings import Findings

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "stages" / "weights" / "small"
# The example pair with its cameras, as pack.sh writes it for a machine that has no package to find cameras with.
PREPARED = ROOT / ".gpu" / "prepared.pt"
CPU = torch.device("cpu")
LEAST_PSNR = 38.0  # dB; convolutions in TF32 leave more than 60


@dataclass(frozen=True)
class Chain:
    """What one device made of the pair, on the CPU, and the seconds that it took."""

    prediction: Prediction
    rendered: Clip
    repaired: Clip
    seconds: float


def check(findings: Findings) -> None:
    views, near_far = _pair()
    if findings.dry:
        views = _at_size(views, (64, 64))
    there, again, here = (_chain(findings, d, views, near_far) for d in (findings.device, findings.device, CPU))
    findings.tell("the whole chain", f"{findings.device} {there.seconds:.2f} s, CPU {here.seconds:.2f} s")
    same = [torch.equal(getattr(there, k).frames, getattr(again, k).frames) for k in ("rendered", "repaired")]
    findings.tell("the same bits again", f"rendered {same[0]}, repaired {same[1]}", all(same))
    wrong = (here.prediction.depth / there.prediction.depth - 1).abs()
    told = f"median {float(wrong.median()):.1e}, largest {float(wrong.max()):.1e}"
    findings.tell("depth against the CPU's", told, float(wrong.median()) < 1e-3)
    for name in ("rendered", "repaired"):
        each = psnr(getattr(here, name).frames, getattr(there, name).frames)
        told = f"PSNR {float(each.mean()):.1f} dB, of the worst frame {float(each.min()):.1f} dB"
        findings.tell(f"{name} against the CPU's", told, float(each.min()) > LEAST_PSNR)
    targets = gather(views, here.repaired)
    for device in dict.fromkeys((findings.device, CPU)):
        findings.attempt(f"refinement on {device}", lambda d=device: _refine(findings, d, here, targets))
    findings.attempt("Gaussians merged", lambda: _merge(findings, here, targets))


def _pair() -> tuple[Views, Tensor]:
    """The example pair at 256 pixels, and the range of its depth."""
    if not PREPARED.exists():
        prepared = prepare((ROOT / "examples" / "room_0.jpg", ROOT / "examples" / "room_1.jpg"), 256)
        return prepared.views, prepared.near_far
    kept = torch.load(PREPARED, weights_only=True)
    return Views(kept["images"] / 255, Cameras(kept["c2w"], kept["K"], tuple(kept["size"]))), kept["near_far"]


def _at_size(views: Views, size: tuple[int, int]) -> Views:
    K = resize_intrinsics(views.cameras.K, views.cameras.size, size)
    return Views(F.interpolate(views.images, size, mode="area"), Cameras(views.cameras.c2w, K, size))


def _chain(findings: Findings, device: torch.device, views: Views, near_far: Tensor) -> Chain:
    """Two photographs to a repaired clip, the networks on `device`; the CPU, which only sets the scale, runs once."""
    rounds, warm = (3, 1) if device.type == "cuda" else (1, 0)
    config, leap = read_config(WEIGHTS / "config.yaml")
    prior = load_prior(WEIGHTS / "prior.safetensors", device)
    student = load_small(WEIGHTS / "student.safetensors", config).to(device)
    c2w, K = views.cameras.c2w, views.cameras.K
    path = interpolate(c2w[0], c2w[1], K[0], K[1], views.cameras.size, 5 if findings.dry else 49)
    with torch.no_grad():
        one = findings.timed(lambda: predict_in_range(views, near_far, prior), rounds, warm)
        all_ranges = findings.timed(lambda: predict(views, near_far, prior), rounds, warm)
        prediction = all_ranges.result
        gaussians = prediction.gaussians.to(device)
        seen = replace(views, depth=prediction.depth)
        there = seen.to(device)
        drawn = findings.timed(lambda: render(gaussians, path.to(torch.float32), views=there), rounds, warm)
        rendered = _on_cpu(drawn.result)
        warped = findings.timed(lambda: warp(seen, rendered.cameras, rendered.depth), rounds, warm)
        repaired = findings.timed(lambda: small_student(student, leap)(rendered, seen), rounds, warm)
    told = f"{all_ranges.seconds:.3f} s, one range {one.seconds:.3f} s, {all_ranges.gib:.2f} GiB"
    findings.tell(f"{device}: prior", told)
    findings.tell(f"{device}: render", f"{drawn.seconds:.3f} s, {drawn.gib:.2f} GiB")
    told = f"{repaired.seconds:.3f} s, of which warp {warped.seconds:.3f} s, {repaired.gib:.2f} GiB"
    findings.tell(f"{device}: student", told)
    return Chain(prediction, rendered, repaired.result, all_ranges.seconds + drawn.seconds + repaired.seconds)


def _on_cpu(clip: Clip) -> Clip:
    assert clip.coverage is not None
    assert clip.depth is not None
    cameras, coverage, depth = clip.cameras.to("cpu"), clip.coverage.cpu(), clip.depth.cpu()
    return replace(clip, frames=clip.frames.cpu(), cameras=cameras, coverage=coverage, depth=depth)


def _refine(findings: Findings, device: torch.device, chain: Chain, targets: Targets) -> None:
    settings = Settings(steps=4 if findings.dry else 60)
    start = time.perf_counter()
    result = reconstruct(chain.prediction.gaussians.to(device), targets, settings)
    findings.wait()
    seconds = time.perf_counter() - start
    found = quality(result.gaussians, targets, result.cameras)
    told = ", ".join(f"{name} {value:.2f} dB" for name, value in found.items())
    findings.tell(f"{device}: refinement, {settings.steps} steps", f"{seconds:.2f} s, {told}")


def _merge(findings: Findings, chain: Chain, targets: Targets) -> None:
    """Far more Gaussians than cuSOLVER decomposes in one batch of 3 x 3 matrices."""
    one = chain.prediction.gaussians
    both = one.joined(replace(one, means=1.01 * one.means))
    left = [len(thin(both.to(d), targets.cameras.to(d), len(one) // 2)[0]) for d in (findings.device, CPU)]
    told = f"{len(both)} to {left[0]}, on the CPU to {left[1]}"
    findings.tell("Gaussians merged", told, max(left) < 1.01 * min(left))
