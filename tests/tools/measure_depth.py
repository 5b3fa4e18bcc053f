"""Measures the shipped prior's depth in worlds it never saw: make measure-depth [TEXTURES=folder].

Prints one line per world and the medians over all pixels, and the same for surfaces without texture. A pixel has no
texture when the 9 x 9 window around it varies by less than 1.5 % of the range of grey.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from stages.distill.prior_losses import covisible
from stages.prior.load import load_prior
from stages.prior.predict import predict
from stages.scene import Views
from stages.worlds import expose, load_textures, sample_scene

SIZE = (256, 384)  # (h, w) of the photographs
HELD_OUT_SEED = 987_654_321  # far above the seeds of training
FLAT = 0.015  # standard deviation of grey below which a window has no texture


def textureless(images: Tensor) -> Tensor:
    """The mask [N, h, w] of pixels without texture in images [N, 3, h, w]."""
    grey = F.pad(images.mean(1, keepdim=True), (4, 4, 4, 4), mode="replicate")
    mean = F.avg_pool2d(grey, 9, 1)
    return (F.avg_pool2d(grey * grey, 9, 1) - mean * mean).clamp_min(0).sqrt()[:, 0] < FLAT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=Path("stages/weights/small/prior.safetensors"))
    parser.add_argument("--textures", type=Path, default=None)
    parser.add_argument("--worlds", type=int, default=40)
    options = parser.parse_args()
    network = load_prior(options.weights, torch.device("cpu"))
    generator = Generator().manual_seed(HELD_OUT_SEED)
    textures = load_textures(options.textures, generator, photos=300, procedural=120)
    # Measure world by world.
    errors, flat, seen = [], [], []
    for k in range(options.worlds):
        views = sample_scene(textures, generator, SIZE, [])
        assert views.depth is not None
        images = expose(views.images, generator)
        low, high = views.depth.flatten(1).quantile(torch.tensor([0.02, 0.98]), 1)
        prediction = predict(Views(images, views.cameras), torch.stack([low * 0.7, high * 2.5], 1), network)
        error = (prediction.depth / views.depth - 1).abs()
        mask = textureless(views.images)
        visible = covisible(views.depth[None], views.cameras.c2w[None].float(), views.cameras.K[:1].float())[0] > 0
        errors.append(error.flatten())
        flat.append(mask.flatten())
        seen.append(visible.flatten())
        inside = f"{error[mask].median():.4f} on {mask.float().mean():.0%}" if mask.any() else "none"
        print(
            f"world {k:3d}  all {error.median():.4f}  seen by both {error[visible].median():.4f}  without texture "
            f"{inside}",
            flush=True,
        )
    # Summarise over all worlds.
    error, mask, visible = torch.cat(errors), torch.cat(flat), torch.cat(seen)
    print(
        f"median relative error: {error.median():.4f} of all pixels, {error[visible].median():.4f} of those "
        "both views see"
    )
    share = f"{mask.float().mean():.1%} of pixels"
    print(f"without texture ({share}): {error[mask].median():.4f}, seen by both {error[mask & visible].median():.4f}")


if __name__ == "__main__":
    main()
