"""Times the full-size student on a CUDA GPU: CogVideoX-5B-I2V with random weights, one step, bfloat16.

python tests/tools/benchmark_cogvideox.py [--rounds 3] [--offload] [--tiling]

The clip has 49 frames of 480 x 720. Prints the seconds of each part (median over the rounds, after one warm-up round)
and its peak memory. The paper reports 2.98 s for a clip on an A100. Needs about 40 GB of GPU memory, less with
--offload or --tiling.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from stages.video.cogvideox_memory import Memory
from stages.video.cogvideox_network import TRANSFORMER_5B, VAE_5B, CogVideoX, build
from stages.video.cogvideox_student import encode_ends
from stages.video.one_step import one_step


def random_model(device: torch.device, memory: Memory, transformer: dict[str, Any], vae: dict[str, Any]) -> CogVideoX:
    """The student's network with random weights, created in its own dtype on its own device."""
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
    """Repair a random clip `rounds` times. Each part runs through clock(name, part)."""
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
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device found; nothing was measured", file=sys.stderr)
        return 4
    device = torch.device("cuda")
    start = time.perf_counter()
    model = random_model(device, Memory(offload=options.offload, tiling=options.tiling), TRANSFORMER_5B, VAE_5B)
    print(
        f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}, bfloat16, offload "
        f"{options.offload}, tiling {options.tiling}"
    )
    print(
        f"{sum(p.numel() for p in model.transformer.parameters()) / 1e9:.2f} billion weights in "
        f"{time.perf_counter() - start:.0f} s"
    )
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

    measure(model, options.rounds + 1, clock)
    total = 0.0
    for name, times in seconds.items():
        middle = statistics.median(times[1:])
        total += middle
        print(f"{name:24} {middle:8.3f} s   peak {peaks[name] / 2**30:6.2f} GiB")
    print(
        f"{'a clip':24} {total:8.3f} s   peak {max(peaks.values()) / 2**30:6.2f} GiB   (the paper: 2.98 s on an A100)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
