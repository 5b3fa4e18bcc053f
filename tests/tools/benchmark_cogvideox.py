"""Times the full-size student on a CUDA machine: CogVideoX-5B-I2V with random weights, 49 frames of 480 x 720, one step, bfloat16.

python tests/tools/benchmark_cogvideox.py [--rounds 3] [--offload] [--tiling]

Prints the seconds (median of the rounds, after one to warm up) and the peak memory of each part. The paper reports 2.98 s for a clip on an
A100. Needs about 40 GB of GPU memory, less with --offload or --tiling.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from stages.video.cogvideox_network import TRANSFORMER_5B, VAE_5B, CogVideoX, Memory, build
from stages.video.cogvideox_student import encode_ends
from stages.video.one_step import one_step


def random_model(device: torch.device, memory: Memory, transformer: dict[str, Any], vae: dict[str, Any]) -> CogVideoX:
    """The student's network with random weights, made in its own dtype where it is to live."""
    home = torch.device("cpu") if memory.offload else device
    torch.set_default_dtype(memory.dtype)
    try:
        parts = build("transformer", transformer, home), build("vae", vae, home)
    finally:
        torch.set_default_dtype(torch.float32)
    prompt = torch.randn(1, transformer["max_text_seq_length"], transformer["text_embed_dim"])
    return CogVideoX(parts[0].to(memory.dtype), parts[1].to(memory.dtype), prompt, device, memory)


@torch.no_grad()
def measure(model: CogVideoX, rounds: int, clock: Callable[[str, Callable[[], Tensor]], Tensor]) -> None:
    """Repair a random clip `rounds` times, each part through clock(name, part)."""
    generator = torch.Generator().manual_seed(0)
    video = torch.rand(1, 3, model.frames, *model.size, generator=generator) * 2 - 1
    images = torch.rand(2, 3, *model.size, generator=generator)
    for _ in range(rounds):
        latent = clock("encode the render", partial(model.encode, video, generator))
        ends = clock("encode the photographs", partial(encode_ends, model, images, latent.shape[1], generator))
        t = torch.tensor([459], device=latent.device)
        x0 = clock("one step", partial(one_step, model, latent, ends, t, torch.randn_like(latent)))
        clock("decode", partial(model.decode, x0))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--offload", action="store_true")
    parser.add_argument("--tiling", action="store_true")
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        print("this needs a CUDA device, and torch finds none here; nothing was measured", file=sys.stderr)
        return 4
    device = torch.device("cuda")
    began = time.perf_counter()
    model = random_model(device, Memory(offload=asked.offload, tiling=asked.tiling), TRANSFORMER_5B, VAE_5B)
    print(f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}, bfloat16, offload {asked.offload}, tiling {asked.tiling}")
    print(f"{sum(p.numel() for p in model.transformer.parameters()) / 1e9:.2f} billion weights in {time.perf_counter() - began:.0f} s")
    seconds: dict[str, list[float]] = {}
    peaks: dict[str, int] = {}

    def clock(name: str, part: Callable[[], Tensor]) -> Tensor:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        result = part()
        torch.cuda.synchronize()
        seconds.setdefault(name, []).append(time.perf_counter() - start)
        peaks[name] = max(peaks.get(name, 0), torch.cuda.max_memory_allocated())
        return result

    measure(model, asked.rounds + 1, clock)
    total = 0.0
    for name, times in seconds.items():
        middle = statistics.median(times[1:])
        total += middle
        print(f"{name:24} {middle:8.3f} s   peak {peaks[name] / 2**30:6.2f} GiB")
    print(f"{'a clip':24} {total:8.3f} s   peak {max(peaks.values()) / 2**30:6.2f} GiB   (the paper: 2.98 s on an A100)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
