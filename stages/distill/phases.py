"""The phases of a run: teacher -> regression (the baseline, if it has steps) and student -> policy.

`teacher` starts from the weights that starting_model.py gives. `regression` and `student` start from the averaged
weights of `teacher`. `policy` trains a network of its own from random weights, for the averaged weights of `student`,
which stay as they are.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from stages.distill.checkpoints import hash_identity, load_finished, read_facts
from stages.distill.clip_shards import Example, shards_of_run
from stages.distill.latents import Latents
from stages.distill.leap_flow import earlier, huber, leap, leap_flow_loss
from stages.distill.model import Batch, Model, Weights, sample_clips, to_batch
from stages.distill.pixel_losses import picture_loss, some_frames
from stages.distill.preview import preview
from stages.distill.recipe_file import Config, Phase, RegressionRecipe, StudentRecipe
from stages.distill.sharding import placed
from stages.distill.teacher import teacher_loss
from stages.distill.training_loop import Progress, Task, Trainer, generator, newest
from stages.distill.workers import Workers
from stages.errors import InputError
from stages.video.schedule import x0_from_v
from stages.video.timesteps import STEPS

BEFORE: dict[Phase, Phase | None] = {
    "teacher": None,
    "regression": "teacher",
    "student": "teacher",
    "policy": "student",
}
TRUTH_HUBER = 1.0  # constant of the pseudo-Huber distance of a latent from the true one
PREVIEW_CLIPS = 3  # number of held-out clips that are measured at every checkpoint


def descendants(phase: Phase) -> list[Phase]:
    """The phases that start, directly or not, from the weights of a phase; the last ones first."""
    return [name for child, before in BEFORE.items() if before == phase for name in (*descendants(child), child)]


@dataclass(frozen=True)
class RunContext:
    """What all phases of a run share.

    run: the run's folder.  shards: files of clips, in a fixed order.
    origin: name of the teacher's first weights, from `starting_model`.
    perceptual: LPIPS for the loss on pixels, or None.
    """

    config: Config
    model: Model
    run: Path
    shards: tuple[Path, ...]
    seed: int
    origin: str
    perceptual: Callable[[Tensor, Tensor], Tensor] | None
    device: torch.device
    workers: Workers

    def identity(self, phase: Phase) -> dict[str, Any]:
        """The settings that decide the weights of a phase. They contain those of earlier phases as a hash."""
        config, before = self.config, BEFORE[phase]
        plain = config.to_dict()
        parent = self.origin if before is None else hash_identity(self.identity(before))
        keys = ("model", "base", "network", "precision", "perceptual_frames", "perceptual_weight")
        data = {"frames": config.data.frames, "size": plain["data"]["size"], **self.workers.identity}
        return {"from": parent, "seed": self.seed, **data, **{key: plain[key] for key in keys}, **plain[phase]}


class Clips:
    """The clips of a phase: those it trains on, and those held out to measure it.

    The last tenth of the shards is held out, if there are two or more.
    names: the shards that the phase's first checkpoint recorded (see `shards_of_run`), or None before that.
    Raises InputError when there is no shard, or when a recorded one is missing.
    """

    def __init__(self, context: RunContext, names: Sequence[str] | None = None) -> None:
        self.shards = shards_of_run(context.shards, context.run, names)
        if not self.shards:
            raise InputError("no training clips", "no folder of clips holds a shard", "name one with --clips")
        self.context, shards = context, list(self.shards.values())
        kept = max(1, len(shards) // 10) if len(shards) > 1 else 0
        self.trained, self.held_out = shards[: len(shards) - kept], shards[len(shards) - kept :] or shards
        self._latents = Latents(context.model, context.run / "latents")
        self._reader, self._ahead = ThreadPoolExecutor(1), dict[int, Future[tuple[list[Example], Generator]]]()

    @property
    def names(self) -> list[str]:
        """The names of the shards, for a checkpoint."""
        return list(self.shards)

    def sample(self, g: Generator, count: int, held_out: bool = False) -> Batch:
        """A random batch of training clips, or of held-out ones."""
        ahead, shards = self._ahead.pop(g.initial_seed(), None), self.held_out if held_out else self.trained
        examples, after = self._read(g, count, shards) if ahead is None else ahead.result()
        g.set_state(after.get_state())
        return to_batch(self.context.model, examples, g, self.context.device, self._latents)

    def read_ahead(self, g: Generator, count: int) -> None:
        """Begin to read, in another thread, the training clips that `sample` will take with such a generator."""
        self._ahead[g.initial_seed()] = self._reader.submit(self._read, g, count, self.trained)

    def _read(self, g: Generator, count: int, shards: Sequence[Path]) -> tuple[list[Example], Generator]:
        """Random clips, and the generator after it has chosen them."""
        data = self.context.config.data
        return sample_clips(self.context.model, shards, g, count, data.frames, data.size), g

    @cached_property
    def preview_clips(self) -> tuple[list[Batch], list[Tensor]]:
        """Some held-out clips and noise for each, the same in every phase."""
        gs = [generator(self.context.seed, "look", k) for k in range(PREVIEW_CLIPS)]
        batches = [self.sample(g, 1, held_out=True) for g in gs]
        return batches, [noise_like(batch.z_render, g) for batch, g in zip(batches, gs, strict=True)]


def clips_of(context: RunContext, phase: Phase) -> Clips:
    """The clips that a phase was started with or, if it has no checkpoint, those that it will start with."""
    checkpoint = newest(context.run, phase)
    return Clips(context, None if checkpoint is None else read_facts(checkpoint).get("clips"))


def noise_like(latent: Tensor, g: Generator) -> Tensor:
    """Noise with the shape of a latent. It comes from the CPU's generator and so is the same on every device."""
    return torch.randn(latent.shape, generator=g).to(latent)


def sample_timesteps(count: int, low: int, high: int, g: Generator, device: torch.device) -> Tensor:
    """`count` random timesteps from low to high, both included."""
    return torch.randint(low, high + 1, (count,), generator=g).to(device)


Loss = Callable[[int, Generator, Weights], dict[str, Tensor]]
"""(step, generator, averaged weights) -> loss terms by name; "loss" is minimised."""


def train_phase(context: RunContext, phase: Phase, progress: Progress) -> None:
    """Train teacher, regression or student to the end, from its newest checkpoint if there is one.

    Raises InputError when the phase before is unfinished or a checkpoint is of other settings, WeightsError when one is
    damaged.
    """
    # Start from the weights of the phase before.
    before, model = BEFORE[phase], context.model
    checkpoint = newest(context.run, phase)
    clips = clips_of(context, phase)
    start, own = {} if before is None else finished(context, before), model.weights
    with torch.no_grad():
        for name, value in start.items():
            own[name].copy_(placed(value, own[name]))
    # Train with the phase's loss, from the newest checkpoint if there is one.
    losses: dict[Phase, Callable[[], tuple[Loss, int]]] = {
        "teacher": lambda: teacher(context, clips),
        "regression": lambda: regression(context, clips),
        "student": lambda: student(context, clips, start),
    }
    loss, t = losses[phase]()

    def make_preview(average: Weights) -> tuple[Tensor, dict[str, float]]:
        return preview(model, model.at(average), *clips.preview_clips, t, context.perceptual)

    recipe = getattr(context.config, phase)
    task = Task(
        phase,
        recipe,
        model.weights,
        loss,
        make_preview,
        context.identity(phase),
        {"clips": clips.names},
        ahead=lambda g: clips.read_ahead(g, recipe.batch),
    )
    trainer = Trainer(task, context.run, context.seed, context.workers)
    if checkpoint is not None:
        trainer.resume(checkpoint)
    model.network.train()
    trainer.train(progress)


def teacher(context: RunContext, clips: Clips) -> tuple[Loss, int]:
    """The teacher's loss of a step, and the timestep of the preview."""
    recipe, model = context.config.teacher, context.model

    def loss(step: int, g: Generator, _: Weights) -> dict[str, Tensor]:
        batch = clips.sample(g, recipe.batch)
        # In the first steps the noised clip is the truth, in the later ones the render.
        on_renders = step >= (1 - recipe.renders) * recipe.steps
        t = sample_timesteps(recipe.batch, 0, recipe.leap_max if on_renders else STEPS - 1, g, context.device)
        start = batch.z_render if on_renders else batch.z_truth
        v_loss, x0_hat = teacher_loss(model, start, batch.z_truth, batch.condition, t, noise_like(start, g), recipe.cap)
        if not recipe.picture:
            return {"loss": v_loss}
        perceptual, weight = _perceptual(context, g), context.config.perceptual_weight
        picture = picture_loss(model.decode(x0_hat), batch.truth, perceptual, weight)
        return {"loss": v_loss + recipe.picture * picture, "v": v_loss, "picture": picture}

    return loss, recipe.leap_max


def regression(context: RunContext, clips: Clips) -> tuple[Loss, int]:
    """The loss of a step of one-step regression, and the timestep of the preview.

    This is the baseline that leap flow must beat: from the noised render straight to the truth (Difix, Wu et al. 2025).
    """
    recipe, model = context.config.regression, context.model

    def loss(step: int, g: Generator, _: Weights) -> dict[str, Tensor]:
        batch = clips.sample(g, recipe.batch)
        t = torch.tensor(recipe.t)[torch.randint(len(recipe.t), (recipe.batch,), generator=g)].to(context.device)
        x_t = leap(batch.z_render, t, noise_like(batch.z_render, g))
        x0_hat = x0_from_v(x_t, model(torch.cat([x_t, batch.condition], 2), t), t)
        return {"loss": _to_truth(context, recipe, x0_hat, batch.z_truth, batch.truth, g)}

    return loss, recipe.t[0]


def student(context: RunContext, clips: Clips, teacher_weights: Weights) -> tuple[Loss, int]:
    """The loss of a step of leap flow distillation, and the timestep of the preview. teacher_weights: whole, frozen."""
    recipe, model = context.config.student, context.model
    frozen = model.at(model.placed(teacher_weights))
    low, high = recipe.near

    def loss(step: int, g: Generator, average: Weights) -> dict[str, Tensor]:
        batch = clips.sample(g, recipe.batch)
        t = sample_timesteps(recipe.batch, 1, recipe.leap_max, g, context.device)
        s = earlier(t, step / recipe.steps, recipe.gap, recipe.gap_share, recipe.gap_halvings)
        noise = noise_like(batch.z_render, g)
        # Compare the ends of the teacher's step. Where t lies in `near`, compare with the truth too.
        networks = (model, model.at(average), frozen)
        flow, x0_hat = leap_flow_loss(*networks, batch.z_render, batch.condition, t, s, noise, recipe.huber)
        near = (t >= low) & (t <= high)
        if not (recipe.latent or recipe.picture) or not bool(near.any()):
            return {"loss": recipe.consistency * flow, "leap_flow": flow}
        truth = _to_truth(context, recipe, x0_hat[near], batch.z_truth[near], batch.truth[near], g)
        return {"loss": recipe.consistency * flow + truth, "leap_flow": flow, "truth": truth}

    return loss, min(high, recipe.leap_max)


def finished(context: RunContext, phase: Phase) -> Weights:
    """The averaged weights of a finished phase. Raises InputError if it is unfinished or of other settings."""
    steps, own = getattr(context.config, phase).steps, context.model.weights
    return load_finished(context.run, phase, steps, context.identity(phase), own)


def _to_truth(
    context: RunContext,
    recipe: RegressionRecipe | StudentRecipe,
    x0_hat: Tensor,
    z_truth: Tensor,
    truth: Tensor,
    g: Generator,
) -> Tensor:
    """The distance of a prediction from the truth, a scalar: of the latents, and of the decoded pixels.

    x0_hat, z_truth: [B, T, C, H, W].  truth: [B, F, 3, h, w] in [0, 1].  Nothing is decoded when recipe.picture is 0.
    """
    loss = recipe.latent * huber(x0_hat, z_truth, TRUTH_HUBER)
    if not recipe.picture:
        return loss
    perceptual, weight = _perceptual(context, g), context.config.perceptual_weight
    return loss + recipe.picture * picture_loss(context.model.decode(x0_hat), truth, perceptual, weight)


def _perceptual(context: RunContext, g: Generator) -> Callable[[Tensor, Tensor], Tensor] | None:
    """LPIPS of a few frames, which are sampled with the generator of the step."""
    frames = context.config.perceptual_frames
    return None if context.perceptual is None else some_frames(context.perceptual, frames, g)
