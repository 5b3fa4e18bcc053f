"""gsplat on CUDA against the float64 reference, with the C++ kernel's errors beside it; odd scenes; speed."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.splat.dispatch import rasterization
from tests.gpu.findings import Findings
from tests.splat.scenes import errors, random_scene
from tests.tools.benchmark_splat import camera, room

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("wide", "needle", "tiny", "huge", "transparent")
# Image and alpha, absolute; gradients, relative. gsplat is compiled with -use_fast_math, hence far above our 1e-5.
MOST_PIXEL, MOST_GRADIENT = 1e-3, 2e-2

# In a process of its own: what divides by the number of Gaussians ends the process.
NO_GAUSSIAN = """
import torch
from stages.splat.dispatch import rasterization
with torch.device("{device}"):
    cameras = torch.eye(4)[None], torch.eye(3)[None]
    shapes = (0, 3), (0, 4), (0, 3), (0,), (0, 1, 3)
    image, alpha = rasterization(*(torch.zeros(s) for s in shapes), *cameras, 8, 8)
assert image.shape == (1, 8, 8, 4) and not alpha.any()
"""


def check(findings: Findings) -> None:
    def on_device(**arguments: Any) -> tuple[Tensor, Tensor]:
        image, alpha = rasterization(**_moved(arguments, findings.device))
        return image.cpu(), alpha.cpu()

    start = time.perf_counter()
    findings.attempt("first call", lambda: on_device(**random_scene("wide", 50).arguments()))
    findings.tell("first call, with the kernels loaded or compiled", f"{time.perf_counter() - start:.1f} s")
    for kind in KINDS[: 2 if findings.dry else None]:
        findings.attempt(kind, lambda k=kind: _against_reference(findings, on_device, k))
    for degree in range(5):
        findings.attempt(f"harmonics of degree {degree}", lambda d=degree: _harmonics(findings, on_device, d))
    findings.attempt("the same bits again", lambda: _again(findings, on_device))
    findings.attempt("speed", lambda: _speed(findings))
    # Last, since an error on the GPU leaves the process useless.
    findings.attempt("all behind the cameras", lambda: _behind(findings, on_device))
    for name, leaf, value in (
        ("a mean that is NaN", "means", float("nan")),
        ("a quaternion of zeros", "quats", 0.0),
        ("an infinite scale", "scales", float("inf")),
    ):
        findings.attempt(name, lambda n=name, k=leaf, v=value: _spoiled(findings, on_device, n, k, v))
    findings.attempt("no Gaussian at all", lambda: _no_gaussian(findings))


def _moved(arguments: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in arguments.items()}


def _against_reference(findings: Findings, on_device: Any, kind: str) -> None:
    scene = random_scene(kind, 120 if findings.dry else 1500, cameras=2)
    gpu, cpu = (errors(render, scene) for render in (on_device, rasterization))
    good = all(value < (MOST_PIXEL if name in ("image", "alpha") else MOST_GRADIENT) for name, value in gpu.items())
    told = ", ".join(f"{name} {value:.1e} ({cpu[name]:.1e})" for name, value in gpu.items())
    findings.tell(kind, told, good)


def _harmonics(findings: Findings, on_device: Any, degree: int) -> None:
    found = errors(on_device, random_scene("wide", 300, degree=degree))
    told = f"image {found['image']:.1e}, sh {found['sh']:.1e}"
    good = found["image"] < MOST_PIXEL and found["sh"] < MOST_GRADIENT
    findings.tell(f"harmonics of degree {degree}", told, good)


def _scene() -> dict[str, Any]:
    return random_scene("wide", 1500, cameras=2).arguments()


def _again(findings: Findings, on_device: Any) -> None:
    first, second = (on_device(**_scene())[0] for _ in range(2))
    findings.tell("the same bits again", str(torch.equal(first, second)), torch.equal(first, second))


def _behind(findings: Findings, on_device: Any) -> None:
    scene = _scene()
    scene["means"] = scene["means"] * torch.tensor([1.0, 1.0, -1.0]) - torch.tensor([0.0, 0.0, 5.0])
    most = float(on_device(**scene)[1].abs().max())
    findings.tell("all behind the cameras", f"alpha at most {most}", most == 0)


def _spoiled(findings: Findings, on_device: Any, name: str, leaf: str, value: float) -> None:
    """One Gaussian that no image can show. No bar: our kernels give it gradient 0, and gsplat makes no such promise."""
    scene = {key: v.clone() if isinstance(v, Tensor) else v for key, v in _scene().items()}
    scene[leaf][5] = value
    leaves = {key: v.requires_grad_() for key, v in scene.items() if isinstance(v, Tensor)}
    image, alpha = on_device(**scene)
    (image.sum() + alpha.sum()).backward()
    spoiled = [key for key, v in leaves.items() if v.grad is not None and not v.grad.isfinite().all()]
    findings.tell(name, f"image finite: {bool(image.isfinite().all())}, gradients not finite: {spoiled or 'none'}")


def _no_gaussian(findings: Findings) -> None:
    code = NO_GAUSSIAN.format(device=findings.device)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    last = done.stderr.strip().splitlines()[-1:]
    findings.tell("no Gaussian at all", f"exit code {done.returncode} {' '.join(last)[:100]}", done.returncode == 0)


def _speed(findings: Findings) -> None:
    scene = _moved(room(64 if findings.dry else 256), findings.device)
    for width, height in ((256, 256), (720, 480)):
        view = _moved(camera(width, height), findings.device)

        def forward(view: dict[str, Any] = view) -> None:
            with torch.no_grad():
                rasterization(**scene, **view)

        def with_backward(view: dict[str, Any] = view) -> None:
            leaves = {name: value.detach().requires_grad_() for name, value in scene.items()}
            rasterization(**leaves, **view)[0].square().mean().backward()

        one, both = findings.timed(forward, 20), findings.timed(with_backward, 10)
        told = f"forward {1e3 * one.seconds:.2f} ms, with backward {1e3 * both.seconds:.2f} ms, {both.gib:.2f} GiB"
        findings.tell(f"{len(scene['means'])} Gaussians at {width} x {height}", told)
