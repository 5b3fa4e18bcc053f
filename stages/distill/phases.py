"""The phases of a run, each from the end of the one before: teacher -> regression (the floor, if it has steps) and student -> policy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from stages.distill.checkpoints import checkpoints, load_state, read_facts, require_identity
from stages.distill.leap_flow import earlier, leap, leap_flow_loss
from stages.distill.model import Batch, Model, Weights, draw_batch
from stages.distill.pixel_losses import picture_loss, some_frames
from stages.distill.preview import look
from stages.distill.recipe_file import Config, Phase, RegressionRecipe, StudentRecipe
from stages.distill.regression import truth_loss
from stages.distill.teacher import teacher_loss
from stages.distill.training_loop import Progress, Task, Trainer, generator, newest
from stages.distill.workers import Workers
from stages.errors import InputError
from stages.video.schedule import STEPS, x0_from_v

BEFORE: dict[Phase, Phase | None] = {"teacher": None, "regression": "teacher", "student": "teacher", "policy": "student"}
LOOKED_AT = 3  # clips that are not trained on and measured at every checkpoint


def descendants(phase: Phase) -> list[Phase]:
    """The phases that start from what a phase leaves, however late; the last ones first."""
    return [name for child, before in BEFORE.items() if before == phase for name in (*descendants(child), child)]


@dataclass(frozen=True)
class Setting:
    """What all phases of a run share.

    run: its folder.  shards: the clips, in a fixed order.  started: a hash of the weights that the teacher starts from, or "random".
    perceptual: LPIPS in the loss on pixels, or None.
    """

    config: Config
    model: Model
    run: Path
    shards: tuple[Path, ...]
    seed: int
    started: str
    perceptual: Callable[[Tensor, Tensor], Tensor] | None
    device: torch.device
    workers: Workers

    def identity(self, phase: Phase) -> dict[str, Any]:
        """The settings that decide the weights of a phase, those of the phases before it as a hash."""
        config, before = self.config, BEFORE[phase]
        plain = config.to_dict()
        parent = self.started if before is None else _hash(self.identity(before))
        shared = {key: plain[key] for key in ("model", "base", "network", "precision", "perceptual_frames", "perceptual_weight")}
        return {"from": parent, "seed": self.seed, "frames": config.data.frames, "size": plain["data"]["size"], **shared, **plain[phase]}


class Clips:
    """The clips of a phase: those it trains on, and those that it only looks at (the last tenth of the shards, if there are two or more).

    names: the shards as the phase's first checkpoint recorded them, see `shard_name`, or None; so a set that grows does not change a run.
    Raises InputError when there is no shard, or one of the recorded ones is gone.
    """

    def __init__(self, setting: Setting, names: Sequence[str] | None = None) -> None:
        here = {shard_name(path, setting.run): path for path in setting.shards}
        gone = next((name for name in names or () if name not in here), None)
        if gone:
            raise InputError("cannot go on", f"the run was started with {gone}, which is gone", "put it back, or start over with --force")
        self.shards = here if names is None else {name: here[name] for name in names}
        if not self.shards:
            raise InputError("no training clips", "no folder of clips holds a shard", "name one with --clips")
        self.setting, shards = setting, list(self.shards.values())
        kept = max(1, len(shards) // 10) if len(shards) > 1 else 0
        self.trained, self.held_out = shards[: len(shards) - kept], shards[len(shards) - kept :] or shards

    @property
    def names(self) -> list[str]:
        """The shards as a checkpoint records them."""
        return list(self.shards)

    def draw(self, g: Generator, count: int, held_out: bool = False) -> Batch:
        """A random batch."""
        setting, data = self.setting, self.setting.config.data
        shards = self.held_out if held_out else self.trained
        return draw_batch(setting.model, shards, g, count, data.frames, data.size, setting.device)

    @cached_property
    def looked_at(self) -> tuple[list[Batch], list[Tensor]]:
        """Some clips that are not trained on, and noise for each, alike in every phase."""
        gs = [generator(self.setting.seed, "look", k) for k in range(LOOKED_AT)]
        batches = [self.draw(g, 1, held_out=True) for g in gs]
        return batches, [noise_like(batch.z_render, g) for batch, g in zip(batches, gs, strict=True)]


def clips_of(setting: Setting, phase: Phase) -> Clips:
    """The clips that a phase was started with, or those that it will be."""
    checkpoint = newest(setting.run, phase)
    return Clips(setting, None if checkpoint is None else read_facts(checkpoint).get("clips"))


def shard_name(shard: Path, run: Path) -> str:
    """What a run records of a shard: its place in the run, or else its whole path, so that neither `cd` nor a moved run loses it."""
    shard, run = shard.resolve(), run.resolve()
    return str(shard.relative_to(run) if shard.is_relative_to(run) else shard)


def noise_like(latent: Tensor, g: Generator) -> Tensor:
    """Noise from the CPU's generator, so that it is the same on every device."""
    return torch.randn(latent.shape, generator=g).to(latent)


def timesteps(count: int, low: int, high: int, g: Generator, device: torch.device) -> Tensor:
    """`count` timesteps, evenly from low to high, both among them."""
    return torch.randint(low, high + 1, (count,), generator=g).to(device)


Loss = Callable[[int, Generator, Weights], dict[str, Tensor]]


def train_phase(setting: Setting, phase: Phase, progress: Progress) -> None:
    """Train teacher, regression or student to the end, from the newest checkpoint when there is one.

    Raises InputError when the phase before is not finished or a checkpoint is of other settings, WeightsError when one is damaged.
    """
    before, model = BEFORE[phase], setting.model
    checkpoint = newest(setting.run, phase)
    clips = clips_of(setting, phase)
    start = {name: value.detach().clone() for name, value in model.weights.items()} if before is None else finished(setting, before)
    with torch.no_grad():
        for name, value in model.weights.items():
            value.copy_(start[name])
    makers: dict[Phase, Callable[[], tuple[Loss, int]]] = {
        "teacher": lambda: teacher(setting, clips),
        "regression": lambda: regression(setting, clips),
        "student": lambda: student(setting, clips, start),
    }
    loss, t = makers[phase]()
    sample = lambda average: look(model, model.at(average), *clips.looked_at, t, setting.perceptual)  # noqa: E731
    recipe = getattr(setting.config, phase)
    task = Task(phase, recipe, model.weights, loss, sample, setting.identity(phase), {"clips": clips.names})
    trainer = Trainer(task, setting.run, setting.seed, setting.workers)
    if checkpoint is not None:
        trainer.resume(checkpoint)
    model.network.train()
    trainer.train(progress)


def teacher(setting: Setting, clips: Clips) -> tuple[Loss, int]:
    """The teacher's loss of a step, and the timestep that is looked at."""
    recipe, model = setting.config.teacher, setting.model

    def loss(step: int, g: Generator, _: Weights) -> dict[str, Tensor]:
        batch = clips.draw(g, recipe.batch)
        on_renders = step >= (1 - recipe.renders) * recipe.steps
        t = timesteps(recipe.batch, 0, recipe.leap_max if on_renders else STEPS - 1, g, setting.device)
        start = batch.z_render if on_renders else batch.z_truth
        v_loss, made = teacher_loss(model, start, batch.z_truth, batch.condition, t, noise_like(start, g), recipe.cap)
        if not recipe.picture:
            return {"loss": v_loss}
        picture = picture_loss(model.decode(made), batch.truth, _perceptual(setting, g), setting.config.perceptual_weight)
        return {"loss": v_loss + recipe.picture * picture, "v": v_loss, "picture": picture}

    return loss, recipe.leap_max


def regression(setting: Setting, clips: Clips) -> tuple[Loss, int]:
    """The loss of a step of one-step regression, and the timestep that is looked at."""
    recipe, model = setting.config.regression, setting.model

    def loss(step: int, g: Generator, _: Weights) -> dict[str, Tensor]:
        batch = clips.draw(g, recipe.batch)
        t = torch.tensor(recipe.t)[torch.randint(len(recipe.t), (recipe.batch,), generator=g)].to(setting.device)
        x_t = leap(batch.z_render, t, noise_like(batch.z_render, g))
        made = _x0(model, x_t, batch.condition, t)
        return {"loss": _to_truth(setting, recipe, made, batch.z_truth, batch.truth, g)}

    return loss, recipe.t[0]


def student(setting: Setting, clips: Clips, teacher_weights: Weights) -> tuple[Loss, int]:
    """The loss of a step of leap flow distillation, and the timestep that is looked at. teacher_weights: frozen."""
    recipe, model = setting.config.student, setting.model
    frozen = model.at({name: value.detach().clone().to(setting.device) for name, value in teacher_weights.items()})
    low, high = recipe.near

    def loss(step: int, g: Generator, average: Weights) -> dict[str, Tensor]:
        batch = clips.draw(g, recipe.batch)
        t = timesteps(recipe.batch, 1, recipe.leap_max, g, setting.device)
        s = earlier(t, step / recipe.steps, recipe.gap, recipe.gap_share, recipe.gap_halvings)
        noise = noise_like(batch.z_render, g)
        flow, made = leap_flow_loss(model, model.at(average), frozen, batch.z_render, batch.condition, t, s, noise, recipe.huber)
        near = (t >= low) & (t <= high)
        if not (recipe.latent or recipe.picture) or not bool(near.any()):
            return {"loss": recipe.consistency * flow, "leap_flow": flow}
        truth = _to_truth(setting, recipe, made[near], batch.z_truth[near], batch.truth[near], g)
        return {"loss": recipe.consistency * flow + truth, "leap_flow": flow, "truth": truth}

    return loss, min(high, recipe.leap_max)


def finished(setting: Setting, phase: Phase) -> Weights:
    """The averaged weights at the end of a phase. Raises InputError when it is not finished, or was of other settings."""
    checkpoint = next(reversed(checkpoints(setting.run, phase)), None)
    steps = getattr(setting.config, phase).steps
    facts = None if checkpoint is None else read_facts(checkpoint)
    if checkpoint is None or facts is None or facts["step"] < steps:
        why = f"it has done {0 if facts is None else facts['step']} of {steps} steps"
        raise InputError(f"the {phase} of {setting.run} is not finished", why, f"train it first: --phase {phase}")
    require_identity(checkpoint, facts, setting.identity(phase))
    return load_state(checkpoint, setting.model.weights).average


def _x0(model: Model, x_t: Tensor, condition: Tensor, t: Tensor) -> Tensor:
    return x0_from_v(x_t, model(torch.cat([x_t, condition], 2), t), t)


def _to_truth(
    setting: Setting, recipe: RegressionRecipe | StudentRecipe, made: Tensor, z_truth: Tensor, truth: Tensor, g: Generator
) -> Tensor:
    perceptual, weight = _perceptual(setting, g), setting.config.perceptual_weight
    return truth_loss(made, z_truth, truth, setting.model.decode, recipe.latent, recipe.picture, perceptual, weight)


def _perceptual(setting: Setting, g: Generator) -> Callable[[Tensor, Tensor], Tensor] | None:
    """LPIPS of a few frames, which the step draws as it draws all else."""
    frames = setting.config.perceptual_frames
    return None if setting.perceptual is None else some_frames(setting.perceptual, frames, g)


def _hash(identity: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
