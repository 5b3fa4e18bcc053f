"""Checks what only a GPU can tell: python -m tests.gpu.check PART [--dry], in the repository's root.

environment  card, versions, gsplat's kernels, and the most that the card reaches
splat        gsplat against the float64 reference and the C++ kernel, forward and backward, odd scenes, speed
small        prior, render, student and refinement on CUDA against the CPU: seconds, PSNR, the same bits again
cogvideox    CogVideoX-5B at full size, random weights: seconds and memory of each part, then one setting after another
distill      all phases at tiny size against the CPU, a resumed run, then one step of leap flow at full size

--dry runs the same lines on the CPU at tiny size, to find mistakes in the checks without a GPU.
Exit code 1: a figure is off. 4: there is no GPU.
"""

import argparse
import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: threads that spin while they wait spoil timings

import torch

from tests.gpu import cogvideox, distill, environment, small, splat
from tests.gpu.findings import Findings

PARTS = {
    "environment": environment.check,
    "splat": splat.check,
    "small": small.check,
    "cogvideox": cogvideox.check,
    "distill": distill.check,
}


def run(part: str, dry: bool) -> Findings:
    """Run one part on the first GPU, or dry on the CPU."""
    torch.manual_seed(0)
    findings = Findings(torch.device("cpu" if dry else "cuda"), dry)
    findings.attempt(part, lambda: PARTS[part](findings))
    return findings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--dry", action="store_true")
    asked = parser.parse_args()
    if not asked.dry and not torch.cuda.is_available():
        print("this needs a CUDA device, and torch finds none here; nothing was checked", file=sys.stderr)
        return 4
    failed = run(asked.part, asked.dry).failed
    print(f"{asked.part}: {len(failed)} off" + "".join(f"\n    {name}" for name in failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
