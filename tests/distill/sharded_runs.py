"""Runs of `videoscene distill` for a tiny cogvideox-5b, with shards or without, for tests."""

import functools
import json
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import yaml
from torch import Tensor
from torch.distributed.tensor import DTensor

from stages.distill import sharding, workers
from stages.distill.checkpoints import checkpoints
from stages.distill.training_loop import Trainer
from stages.video.cogvideox_files import load_cogvideox
from tests.distill.tiny import COMMON, cogvideox_recipe
from tests.video.tiny import TRANSFORMER, VAE
from videoscene_cli.app import run

TWO_BLOCKS: dict[str, Any] = TRANSFORMER | {"num_layers": 2}
# Gradients are longer than clip_norm, so they are clipped.
PHASE = {**COMMON, "clip_norm": 1e-3, "steps": 2, "every": 1}


def train(folder: Path, name: str, batches: int, shards: bool = True, phase: str = "all") -> None:
    """Train into the folder `name`, and note the share of the numbers that this process holds.

    folder: holds the base and the clips.  batches: number per step in each process.
    shards: False keeps whole weights in every process.
    Raises RuntimeError when the command fails.
    """
    train_phase = Trainer.train

    def train_and_note(trainer: Trainer, *arguments: Any) -> dict[str, Tensor]:
        average = train_phase(trainer, *arguments)
        path = folder / f"{name}-{trainer.task.phase}-{trainer.workers.rank}.json"
        path.write_text(json.dumps(share_held(trainer)))
        return average

    config = folder / f"{name}.yaml"
    recipe = cogvideox_recipe(folder, {**PHASE, "accumulate": batches}, {"clips": 3, "held_out": 0.4})
    config.write_text(yaml.safe_dump(recipe))
    options = {"config": config, "clips": folder / "clips", "phase": phase, "device": "cpu"}
    tiny = functools.partial(load_cogvideox, transformer_config=TWO_BLOCKS, vae_config=VAE)
    with (
        mock.patch("stages.video.cogvideox_files.load_cogvideox", tiny),
        mock.patch("stages.distill.starting_model.load_cogvideox", tiny),
        mock.patch("stages.distill.sharding.shard", sharding.shard if shards else lambda model, workers: None),
        mock.patch("stages.distill.phases.PREVIEW_CLIPS", 1),
        mock.patch.object(Trainer, "train", train_and_note),
    ):
        code = run(["distill", "-o", str(folder / name), *(f"--{key}={value}" for key, value in options.items())])
    if code:
        raise RuntimeError(f"{name} ended with {code}")


def share_held(trainer: Trainer) -> float:
    """The share of weights, gradients, averaged weights and moments that this process holds, from 0 to 1."""
    weights = trainer.task.weights.values()
    moments = [trainer.optimiser.state[value][moment] for value in weights for moment in ("exp_avg", "exp_avg_sq")]
    gradients = [value.grad for value in weights if value.grad is not None]
    tensors = [*weights, *gradients, *trainer.average.values(), *moments]
    held = sum((x.to_local() if isinstance(x, DTensor) else x).numel() for x in tensors)
    return held / sum(x.numel() for x in tensors)


def main(folder: Path) -> None:
    """In each of two processes: train with shards and without, then go on from a checkpoint of each with the other."""
    torch.set_num_threads(1)
    workers.join_workers = functools.cache(workers.join_workers)
    everyone = workers.join_workers(torch.device("cpu"))
    train(folder, "whole", 1, shards=False)
    train(folder, "sharded", 1)
    for before in ("whole", "sharded"):
        name = f"first {before}"
        if everyone.rank == 0:
            shutil.copytree(folder / before, folder / name)
            shutil.rmtree(folder / name / "weights" / "student")
            shutil.rmtree(checkpoints(folder / name, "student")[-1])
        everyone.wait()
        train(folder, name, 1, shards=before == "whole", phase="student")
