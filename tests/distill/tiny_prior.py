"""Priors and pairs small enough to train on in a test: a thin network, scenes of 64 x 96 pixels."""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Generator, Tensor

from stages.distill.prior_phases import PriorContext
from stages.distill.recipe_file import Config, Data, MonocularRecipe, PriorRecipe
from stages.distill.workers import Workers
from stages.prior.config import RE10K, SMALL, PriorConfig
from stages.prior.efficientnet import EncoderConfig
from stages.prior.monocular import MonocularConfig
from stages.prior.network import MVSplat
from stages.scene import Cameras
from stages.worlds import expose, load_textures, sample_scene

THIN = {
    "cnn_channels": (16, 16, 16),
    "feature_channels": 16,
    "feed_forward_channels": 32,
    "transformer_blocks": 1,
    "cost_channels": 32,
    "cost_levels": 2,
    "depth_head_channels": 16,
    "upsampled_channels": 16,
    "guide_channels": 8,
    "refine_channels": 32,
    "refine_levels": 2,
    "disparity_channels": 16,
    "gaussian_channels": 16,
}
BRANCH = MonocularConfig(EncoderConfig(width=0.25, depth=0.25), widths=(16, 16, 16, 16))
TINY = replace(SMALL, **THIN, cost_attention=(2,), refine_attention=(2,), monocular=BRANCH)  # type: ignore[arg-type]
TINY_RE10K = replace(RE10K, **THIN, cost_attention=(2,), refine_attention=(2,))  # type: ignore[arg-type]
COMMON = {"steps": 4, "every": 2, "warmup": 1, "learning_rate": 1e-3, "ema": 0.5}
CONFIG = Config(
    model="small-prior",
    data=Data(pairs=3, scenes=2, sizes=((64, 96),)),
    monocular=MonocularRecipe(**COMMON, batch=2, width=64),  # type: ignore[arg-type]
    prior=PriorRecipe(**COMMON, accumulate=2, frozen=("backbone.backbone.", "backbone.monocular.encoder.stem.")),  # type: ignore[arg-type]
)


def random_shard(path: Path, seed: int = 0, depth: bool = True, size: tuple[int, int] = (64, 96)) -> Path:
    """Two scenes of noise before a slanted wall, four cameras each; without depth they have a range."""
    g, (h, w) = Generator().manual_seed(seed), size
    slope = torch.linspace(2, 4, w).expand(2, 4, h, w)
    c2w = torch.eye(4).repeat(2, 4, 1, 1)
    c2w[:, :, 0, 3] = torch.tensor([0, 0.3, 0.1, 0.2])
    K = torch.tensor([[w, 0, w / 2], [0, w, h / 2], [0, 0, 1.0]]).repeat(2, 1, 1)
    tensors = {"images": torch.randint(256, (2, 4, 3, h, w), generator=g).byte(), "c2w": c2w, "K": K}
    tensors |= {"depth": slope.half().contiguous()} if depth else {"near_far": torch.tensor([[[1.5, 6.0]] * 2] * 2)}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return path


def random_shards(folder: Path, count: int = 3, depth: bool = True) -> list[Path]:
    return [random_shard(folder / f"{number:05d}.safetensors", number, depth) for number in range(count)]


def tiny_network(config: PriorConfig = TINY, seed: int = 0) -> MVSplat:
    torch.manual_seed(seed)
    return MVSplat(config)


def prior_context(
    run: Path, shards: list[Path], config: Config = CONFIG, network: MVSplat | None = None
) -> PriorContext:
    run.mkdir(parents=True, exist_ok=True)
    network = network or tiny_network()
    start = {name: value.detach().clone() for name, value in network.named_parameters()}
    return PriorContext(config, network, start, run, tuple(shards), 0, "random", None, torch.device("cpu"), Workers())


def walk(frames: int, size: tuple[int, int]) -> tuple[Tensor, Tensor, Cameras]:
    """Pictures, depths and cameras of a walk through a world."""
    g = Generator().manual_seed(3)
    textures = load_textures(None, g, procedural=12)
    views = sample_scene(textures, g, size, [k / (frames - 1) for k in range(1, frames - 1)], False)
    order = [0, *range(2, frames), 1]
    assert views.depth is not None
    return expose(views.images, g)[order], views.depth[order], views.cameras[order]
