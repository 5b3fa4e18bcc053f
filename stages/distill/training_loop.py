"""The training loop of every phase: optimiser, averaged weights, checkpoints, log.

A step depends only on weights, optimiser state and step number. So a run that is killed at any time resumes from its
last checkpoint and ends with the weights of an uninterrupted run; on a CPU they are equal bit for bit.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from stages.distill.checkpoints import State, checkpoints, load_state, require_identity, save_state
from stages.distill.recipe_file import Recipe
from stages.distill.sharding import is_sharded, placed, whole
from stages.distill.workers import Workers
from stages.files.images import write_png
from stages.files.publish import publish
from stages.training import adamw, average_decay, learning_rate, without_denormals

LOG_EVERY = 10  # number of steps between two lines of the log

Progress = Callable[[int, int], None]
"""(steps done, all steps) -> None. Called before the first step and after each one, to show the progress."""


@dataclass(frozen=True, eq=False)
class Task:
    """What a phase trains.

    weights: the trained parameters, by name.  loss: (step, generator, averaged weights) -> loss terms by name; "loss"
    is minimised, and all randomness comes from the generator.  preview: (averaged weights) -> a picture [3, h, w] and
    numbers for the log.  identity: the settings that decide the result.
    facts: further contents of the first checkpoint, which all later ones keep.
    slow: names of the weights whose learning rate is multiplied by `share`.
    ahead: called with the generator of the next batch, which it may begin to read while a step is computed.
    """

    phase: str
    recipe: Recipe
    weights: dict[str, Tensor]
    loss: Callable[[int, Generator, dict[str, Tensor]], dict[str, Tensor]]
    preview: Callable[[dict[str, Tensor]], tuple[Tensor | None, dict[str, float]]]
    identity: Mapping[str, Any]
    facts: Mapping[str, Any]
    slow: frozenset[str] = frozenset()
    share: float = 1.0
    ahead: Callable[[Generator], None] = lambda _: None


def generator(seed: int, *purpose: object) -> Generator:
    """A generator of random numbers for one purpose in a run.

    purpose: any values that name it, such as the phase, the step and the number of the batch.
    """
    digest = hashlib.sha256("/".join(map(str, (seed, *purpose))).encode()).digest()
    return Generator().manual_seed(int.from_bytes(digest[:7], "big"))


class Trainer:
    """Trains one phase of a run, from a checkpoint if `resume` is called.

    run: the run's folder.  seed: seed of all random numbers.
    Raises InputError when the checkpoint is of other settings, and WeightsError when it is damaged.
    """

    def __init__(self, task: Task, run: Path, seed: int, workers: Workers) -> None:
        self.task, self.run, self.seed, self.workers = task, run, seed, workers
        for value in task.weights.values():
            value.requires_grad_(True)
        self.average = {name: value.detach().clone() for name, value in task.weights.items()}
        fast, slow = ([v for k, v in task.weights.items() if (k in task.slow) == own] for own in (False, True))
        recipe = task.recipe
        self.optimiser = adamw(fast, recipe.learning_rate, recipe.weight_decay, slow, task.share)
        self.step, self.facts = 0, {"identity": dict(task.identity), **task.facts}

    def resume(self, checkpoint: Path) -> None:
        """Take over the state of a checkpoint."""
        state = load_state(checkpoint, self.task.weights)
        require_identity(checkpoint, state.facts, self.task.identity)
        self.step, self.facts = state.step, {key: value for key, value in state.facts.items() if key != "step"}
        with torch.no_grad():
            for name, value in self.task.weights.items():
                value.copy_(placed(state.network[name], value))
                self.average[name].copy_(placed(state.average[name], value))
        for name, moments in state.moments.items():
            value = self.task.weights[name]
            self.optimiser.state[value] = {
                m: x.clone() if m == "step" else placed(x, value) for m, x in moments.items()
            }

    def train(self, progress: Progress) -> dict[str, Tensor]:
        """Run to the end of the recipe. Returns the averaged weights. progress: called with (steps done, all steps)."""
        recipe, sums, since, counted = self.task.recipe, dict[str, float](), time.monotonic(), 0
        self._trim_log()
        progress(self.step, recipe.steps)
        while self.step < recipe.steps:
            with without_denormals():
                step = self._step()
            for name, value in step.items():
                sums[name] = sums.get(name, 0.0) + value
            counted += 1
            progress(self.step, recipe.steps)
            last = self.step == recipe.steps
            if self.step % LOG_EVERY == 0 or last:
                seconds = (time.monotonic() - since) / counted
                self._log({name: value / counted for name, value in sums.items()}, seconds)
                sums, since, counted = {}, time.monotonic(), 0
            if self.step % recipe.every == 0 or last:
                self._save()
        return self.average

    def _step(self) -> dict[str, float]:
        """Take one step of the optimiser and of the averaged weights. Returns numbers for the log."""
        task, recipe = self.task, self.task.recipe
        for group in self.optimiser.param_groups:
            group["lr"] = _learning_rate(recipe, self.step) * group["share"]
        self.optimiser.zero_grad(set_to_none=True)
        means: dict[str, float] = {}
        # The gradient is the mean over several batches and over all processes. One process that takes n batches in a
        # step takes the same batches as n processes that take one batch each.
        for k in range(recipe.accumulate):
            step, following = divmod(k + 1, recipe.accumulate)
            if self.step + step < recipe.steps:
                task.ahead(self._generator(self.step + step, following))
            terms = task.loss(self.step, self._generator(self.step, k), self.average)
            (terms["loss"] / recipe.accumulate).backward()
            for name, value in terms.items():
                means[name] = means.get(name, 0.0) + float(value.detach()) / recipe.accumulate
        for value in task.weights.values():
            value.grad = torch.zeros_like(value) if value.grad is None else value.grad
        self.workers.mean(value.grad for value in task.weights.values() if value.grad is not None)
        # Step, unless the gradient overflowed: such a step teaches nothing.
        norm = nn.utils.clip_grad_norm_(list(task.weights.values()), recipe.clip_norm)
        if finite := bool(torch.isfinite(norm)):
            self.optimiser.step()
        self.step += 1
        decay = average_decay(recipe.ema, self.step)
        values = [value.detach() for value in task.weights.values()]
        torch._foreach_lerp_(list(self.average.values()), values, 1 - decay)
        return means | {"gradient": float(norm) if finite else 0.0, "skipped": float(not finite)}

    def _generator(self, step: int, k: int) -> Generator:
        """The generator of a batch, the k-th of this process in a step."""
        number = k * self.workers.count + self.workers.rank
        # The 0 was once the rank of the process. It stays, because without it a run would draw other random numbers.
        return generator(self.seed, self.task.phase, step, number, 0)

    def _log(self, means: Mapping[str, float], seconds: float) -> None:
        """Write a line of the log. means: numbers by name, means over some steps.  seconds: the time of one step."""
        left = int(seconds * (self.task.recipe.steps - self.step))
        row: dict[str, object] = {"phase": self.task.phase, "step": self.step, "of": self.task.recipe.steps}
        row |= {name: float(f"{value:.5g}") for name, value in means.items()}
        row |= {
            "learning_rate": float(f"{_learning_rate(self.task.recipe, self.step - 1):.3g}"),
            "seconds_per_step": round(seconds, 3),
        }
        self._write_log(row | {"left": f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"})

    def _write_log(self, row: Mapping[str, object]) -> None:
        """Append a line to log.jsonl. Only the first process writes it."""
        if self.workers.rank == 0:
            with (self.run / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(row) + "\n")

    def _trim_log(self) -> None:
        """Remove the rows of steps that will be repeated, and a row that was cut off."""
        path = self.run / "log.jsonl"
        if self.workers.rank or not path.is_file():
            return
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if row["phase"] != self.task.phase or row["step"] <= self.step:
                kept.append(line + "\n")
        with publish(path) as partial:
            partial.write_text("".join(kept), encoding="utf-8")

    def _save(self) -> None:
        """Write a checkpoint and a preview, and the figures of the preview into the log."""
        self.workers.require_equal(self.task.weights)
        writes = self.workers.rank == 0
        if writes or is_sharded(self.task.weights):  # Every process gives its part of the weights, and one writes.
            picture, figures = self.task.preview(self.average)
            state = self._state()
            if writes and picture is not None:
                write_png(self.run / "samples" / f"{self.task.phase}-{self.step:06d}.png", picture)
            if figures:
                rounded = {name: float(f"{value:.5g}") for name, value in figures.items()}
                self._write_log({"phase": self.task.phase, "step": self.step, "held_out": rounded})
            if writes:
                save_state(self.run, self.task.phase, state)
        self.workers.wait()

    def _state(self) -> State:
        """The state for a checkpoint; of sharded tensors the first process has the whole ones."""
        weights = self.task.weights
        network, average = ({name: whole(x) for name, x in own.items()} for own in (weights, self.average))
        states = {name: self.optimiser.state[value] for name, value in weights.items()}
        moments = {name: {m: whole(x) for m, x in state.items()} for name, state in states.items() if state}
        return State(self.step, dict(self.facts), network, average, moments)


def _learning_rate(recipe: Recipe, step: int) -> float:
    return learning_rate(step, recipe.steps, recipe.learning_rate, recipe.warmup, cosine=recipe.decay == "cosine")


def newest(run: Path, phase: str) -> Path | None:
    """The newest checkpoint of a phase, or None."""
    return next(reversed(checkpoints(run, phase)), None)
