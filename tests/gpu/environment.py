"""The card, the versions, gsplat's kernels, and the most that the card reaches."""

import importlib
import importlib.metadata
import os
import shutil
import subprocess
import time

import torch

from tests.gpu.findings import Findings

PROGRAMS = {
    "nvidia-smi": ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"),
    "nvcc": ("--version",),
    "g++": ("--version",),
}
PACKAGES = ("numpy", "safetensors", "huggingface_hub", "diffusers", "gsplat")


def check(findings: Findings) -> None:
    for program, options in PROGRAMS.items():
        path = shutil.which(program)
        done = subprocess.run([path, *options], capture_output=True, text=True, timeout=15) if path else None
        findings.tell(program, " / ".join(done.stdout.split("\n")[:4]) if done else "not found")
    findings.tell("torch", f"{torch.__version__}, CUDA {torch.version.cuda}, {torch.get_num_threads()} threads")
    findings.tell("CPU cores", str(os.cpu_count()))
    for package in PACKAGES:

        def load(package: str = package) -> None:
            start = time.perf_counter()
            importlib.import_module(package)
            seconds = time.perf_counter() - start
            findings.tell(package, f"{importlib.metadata.version(package)}, {seconds:.1f} s to import", True)

        findings.attempt(package, load)
    if not findings.dry:
        findings.attempt("gsplat's kernels", lambda: _kernels(findings))
        findings.attempt("the most that the card reaches", lambda: _ceilings(findings))


def _kernels(findings: Findings) -> None:
    from gsplat.cuda._backend import _C

    findings.tell("gsplat's kernels", str(getattr(_C, "__file__", None)), _C is not None)


def _ceilings(findings: Findings) -> None:
    a, b = torch.randn(2, 8192, 8192, device=findings.device).bfloat16()
    x = torch.empty(1 << 30, dtype=torch.uint8, device=findings.device)
    y = torch.empty_like(x)
    product = findings.timed(lambda: a @ b, 10).seconds
    copy = findings.timed(lambda: y.copy_(x), 10).seconds
    findings.tell("bfloat16 product of 8192 x 8192", f"{2 * 8192**3 / product / 1e12:.0f} TFLOP/s")
    findings.tell("copy, bytes read and written", f"{2 * x.numel() / copy / 1e12:.2f} TB/s")
