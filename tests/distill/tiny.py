"""Clips and settings small enough to train on in a test: 5 frames of 16 x 32 pixels, `small` with a few channels."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from stages.distill.clip_shards import Example, write_clips
from stages.distill.model import Model, small_model
from stages.distill.phases import RunContext
from stages.distill.recipe_file import Config, Data, PolicyRecipe, RegressionRecipe, StudentRecipe, TeacherRecipe
from stages.distill.workers import Workers
from stages.files.settings import parse
from stages.video.small_network import SmallVideo, SmallVideoConfig
from stages.worlds.shards import shard_path

NETWORK = {"channels": [16, 16, 32], "encoder": [1, 1], "middle": 1, "decoder": [1, 1], "heads": 2, "time_channels": 16}
COMMON = {"steps": 4, "every": 2, "warmup": 1, "learning_rate": 1e-3, "ema": 0.5}
# The settings of a run of all phases, as a recipe file holds them.
RECIPE = {
    "network": NETWORK,
    "data": {"frames": 5, "size": [16, 32]},
    "teacher": COMMON,
    "regression": COMMON,
    "student": COMMON,
    "policy": {**COMMON, "clips": 4, "held_out": 0.5, "grid": [99, 299], "width": 8},
}
CONFIG = Config(
    network=NETWORK,
    data=Data(frames=5, size=(16, 32)),
    teacher=TeacherRecipe(**COMMON, accumulate=2, picture=1.0),  # type: ignore[arg-type]
    regression=RegressionRecipe(**COMMON, t=(100, 459)),  # type: ignore[arg-type]
    student=StudentRecipe(**COMMON, batch=2),  # type: ignore[arg-type]
    policy=PolicyRecipe(**COMMON, batch=2, clips=4, held_out=0.5, grid=(99, 299, 499), width=8),  # type: ignore[arg-type]
)


def cogvideox_recipe(folder: Path, phase: dict[str, Any], policy: dict[str, Any]) -> dict[str, Any]:
    """A recipe for the tiny cogvideox-5b in folder/base. phase: settings of all phases.  policy: more of the policy."""
    return {
        "model": "cogvideox-5b",
        "base": str(folder / "base"),
        "data": {"frames": 9, "size": [32, 48]},
        "teacher": {**phase, "cap": None},
        "student": {**phase, "latent": 0.0, "picture": 0.0},
        "policy": {**phase, "grid": [99, 299], "width": 8, **policy},
    }


def write_shards(folder: Path, size: tuple[int, int] = (16, 48), frames: int = 9, shards: int = 2) -> list[Path]:
    """Clips of noise, of which the render is a darker copy."""
    g = torch.Generator().manual_seed(0)
    folder.mkdir(parents=True)
    for number in range(shards):
        clips = []
        for _ in range(2):
            truth = torch.rand(frames, 3, *size, generator=g)
            seen = torch.rand(frames, 2, *size, generator=g)
            warped = 0.9 * truth[:, None].expand(-1, 2, -1, -1, -1)
            clips.append(
                Example(0.8 * truth, torch.rand(frames, *size, generator=g), truth, truth[[0, -1]], warped, seen)
            )
        write_clips(shard_path(folder, number), clips)
    return sorted(folder.glob("*.safetensors"))


def small(seed: int = 0) -> Model:
    torch.manual_seed(seed)
    return small_model(SmallVideo(parse(SmallVideoConfig, NETWORK, "test")))


def setting(run: Path, shards: list[Path], config: Config = CONFIG, model: Model | None = None) -> RunContext:
    run.mkdir(parents=True, exist_ok=True)
    return RunContext(config, model or small(), run, tuple(shards), 0, "random", None, torch.device("cpu"), Workers())


__all__ = ["COMMON", "CONFIG", "NETWORK", "RECIPE", "cogvideox_recipe", "replace", "setting", "small", "write_shards"]
