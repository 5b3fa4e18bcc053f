"""Times the Gaussian renderer: the C++ kernel against the torch fallback.

python tests/tools/benchmark_splat.py [--threads 2] [--rounds 5]

The scene is like that of a two-view prior: 131,072 Gaussians, one for each pixel of two 256x256 views of a room, 1 to 2
pixels wide, with harmonics of degree 4. It is rendered at 256x256 and 480x720, forward alone and with the backward
pass. Both implementations take turns, and the best round counts. The kernel must be at least 15 times faster than the
fallback.
"""

import argparse
import os
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

# To be set before torch is imported: spinning threads spoil timings on a machine that is not idle.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor

from stages.splat import cpu, dispatch, fallback

Scene = dict[str, Tensor]


def room(size: int = 256, seed: int = 0) -> Scene:
    """One Gaussian for each pixel of two views into a box of 6 x 2.6 x 5 units, with 0.4 % of noise on its depth."""
    g = torch.Generator().manual_seed(seed)
    focal = 0.5 * size / torch.tensor(30.0).deg2rad().tan()
    low, high = torch.tensor([-3.0, -1.3, -1.0]), torch.tensor([3.0, 1.3, 4.0])
    means, scales = [], []
    for eye in (torch.tensor([-0.35, 0.0, -0.6]), torch.tensor([0.35, 0.05, -0.55])):
        y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        pixel = torch.stack([x, y], -1).reshape(-1, 2) + torch.rand(size * size, 2, generator=g)
        ray = torch.cat([(pixel - size / 2) / focal, torch.ones(size * size, 1)], 1)
        depth = torch.maximum((low - eye) / ray, (high - eye) / ray).amin(1) * (
            1 + 0.004 * torch.randn(size * size, generator=g)
        )
        means.append(eye + ray * depth[:, None])
        scales.append((depth / focal)[:, None] * (1 + torch.rand(size * size, 3, generator=g)))
    position = torch.cat(means)
    n = len(position)
    sh = 0.03 * torch.randn(n, 25, 3, generator=g)
    sh[:, 0] = torch.sin(position * torch.tensor([7.0, 5.0, 6.0]))
    return {
        "means": position,
        "quats": torch.randn(n, 4, generator=g),
        "scales": torch.cat(scales),
        "opacities": 0.1 + 0.89 * torch.rand(n, generator=g),
        "sh": sh,
    }


def camera(width: int, height: int) -> dict[str, Any]:
    focal = 0.5 * height / float(torch.tensor(30.0).deg2rad().tan())
    K = torch.tensor([[[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]]])
    view = torch.eye(4)[None].clone()
    view[0, 2, 3] = 0.58
    return {"viewmats": view, "Ks": K, "width": width, "height": height}


def on(module: ModuleType) -> Callable[..., Any]:
    """The function `rasterization` of one implementation."""

    def render(**arguments: Any) -> Any:
        dispatch._implementation = lambda dtype: module  # type: ignore[assignment]
        return dispatch.rasterization(**arguments)

    return render


def forward(render: Callable[..., Any], scene: Scene, view: dict[str, Any]) -> None:
    with torch.no_grad():
        render(**scene, **view)


def forward_backward(render: Callable[..., Any], scene: Scene, view: dict[str, Any]) -> None:
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in scene.items()}
    render(**leaves, **view)[0].square().mean().backward()


def timed(
    task: Callable[..., None], render: Callable[..., Any], scene: Scene, view: dict[str, Any]
) -> tuple[float, float]:
    """Milliseconds of one run: wall clock, and processor time of all threads."""
    wall, processor = time.perf_counter(), time.process_time()
    task(render, scene, view)
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - processor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    candidates: dict[str, Callable[..., Any]] = {"c++": on(cpu), "torch": on(fallback)}
    scene = room()
    print(
        f"{len(scene['means'])} Gaussians, {options.threads} threads, best of {options.rounds}; milliseconds, "
        "wall (processor)"
    )
    for task in (forward, forward_backward):
        for width, height in ((256, 256), (720, 480)):
            best = dict.fromkeys(candidates, (float("inf"), float("inf")))
            for turn in range(options.rounds):
                for name, render in candidates.items():
                    # Fast candidates need repetitions for a steady minimum. The fallback is slow enough to be
                    # steady in two rounds.
                    repeat = 5 if name != "torch" else int(turn < 2)
                    for _ in range(repeat):
                        wall, processor = timed(task, render, scene, camera(width, height))
                        best[name] = (min(best[name][0], wall), min(best[name][1], processor))
            times = "  ".join(f"{name} {wall:7.1f} ({processor:7.1f})" for name, (wall, processor) in best.items())
            ratio = f"torch / c++ {best['torch'][0] / best['c++'][0]:.1f}"
            print(f"{task.__name__:16s} {width}x{height}  {times}  {ratio}", flush=True)


if __name__ == "__main__":
    main()
