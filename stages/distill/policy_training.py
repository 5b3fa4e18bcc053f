"""The policy's phase: reward every leap step of some clips once, fit DDPNet to the rewards, report on clips that it never saw."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import torch
from torch import Generator, Tensor

from stages.distill.checkpoints import read_facts, require_identity
from stages.distill.model import Batch, Weights
from stages.distill.phases import Clips, Setting, finished, noise_like
from stages.distill.policy import DDPNet, bandit_loss, pooled, report, rewards, spread
from stages.distill.recipe_file import PolicyRecipe
from stages.distill.training_loop import Progress, Task, Trainer, generator, newest
from stages.errors import WeightsError
from stages.files.publish import write_json
from stages.files.weight_tensors import read_json_object

TABLE = "rewards.json"
RELEVANT = ("from", "seed", "frames", "size", "model", "network", "precision", "grid", "clips", "held_out")  # settings that decide rewards


def held_out(recipe: PolicyRecipe) -> int:
    """How many clips, the last ones, are kept for the report."""
    return max(1, min(recipe.clips - 1, round(recipe.clips * recipe.held_out)))


class Table:
    """The rewards of some clips, on disk as far as they are known: checkpoints/policy/rewards.json.

    Clips are drawn by number, the held-out ones from shards that nothing was trained on (if the set has two shards or more).
    Raises InputError when the file is of other settings, WeightsError when it is damaged.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting, self.recipe = setting, setting.config.policy
        self.path = setting.run / "checkpoints" / "policy" / TABLE
        self.identity = {key: value for key, value in setting.identity("policy").items() if key in RELEVANT}
        found: dict[str, Any] = {}
        if self.path.exists():
            found = read_json_object(self.path)
            rows = found.get("rewards")
            if not isinstance(found.get("identity"), dict) or not isinstance(rows, list) or not isinstance(found.get("clips"), list):
                raise WeightsError(f"damaged {self.path}", "it is no table of rewards", "remove it: the rewards are computed again")
            require_identity(self.path, found, self.identity)
        self.rows: list[list[float]] = list(found.get("rewards", []))
        self.clips = Clips(setting, found.get("clips"))

    def batch(self, k: int) -> tuple[Batch, Tensor]:
        """Clip k and the noise of its rewards."""
        g = generator(self.setting.seed, "policy clip", k)
        batch = self.clips.draw(g, 1, held_out=k >= self.recipe.clips - held_out(self.recipe))
        return batch, noise_like(batch.z_render, g)

    def fill(self, student: Weights, progress: Progress) -> Tensor:
        """The rewards of all clips, [clips, len(grid)]. student: frozen."""
        backbone = self.setting.model.at(student)
        progress(len(self.rows), self.recipe.clips)
        while len(self.rows) < self.recipe.clips:
            batch, noise = self.batch(len(self.rows))
            row = rewards(backbone, batch.z_render, batch.z_truth, batch.condition, self.recipe.grid, noise)[0]
            self.rows.append(row.tolist())
            if self.setting.workers.rank == 0:
                write_json(self.path, {"identity": self.identity, "clips": self.clips.names, "rewards": self.rows})
            progress(len(self.rows), self.recipe.clips)
        self.setting.workers.wait()
        return torch.tensor(self.rows)


def train_policy(setting: Setting, progress: Progress, rewarding: Progress) -> tuple[Weights, dict[str, object]]:
    """Train DDPNet for the run's finished student. Returns its weights and the report. rewarding: progress of the rewards.

    Raises InputError when the student is not finished or a checkpoint is of other settings, WeightsError when one is damaged.
    """
    recipe = setting.config.policy
    student = {name: value.to(setting.device) for name, value in finished(setting, "student").items()}
    checkpoint = newest(setting.run, "policy")
    if checkpoint is not None:
        require_identity(checkpoint, read_facts(checkpoint), setting.identity("policy"))
    table = Table(setting)
    values = table.fill(student, rewarding)
    known = values[: recipe.clips - held_out(recipe)]
    scale = spread(known)
    torch.manual_seed(int(hashlib.sha256(f"{setting.seed}/policy".encode()).hexdigest()[:8], 16))

    @functools.cache  # every clip is looked at many times; 2000 large ones, or their coverage in pixels, would fill a GPU
    def context(k: int) -> tuple[Tensor, Tensor]:
        batch, _ = table.batch(k)
        return batch.z_render.cpu(), pooled(batch.coverage, batch.z_render).cpu()

    def logits_of(k: int) -> Tensor:
        latent, coverage = context(k)
        return network(latent.to(setting.device), coverage.to(setting.device))

    network = DDPNet(context(0)[0].shape[2], recipe.width, recipe.grid).to(setting.device)

    def loss(step: int, g: Generator, _: Weights) -> dict[str, Tensor]:
        chosen = torch.randint(len(known), (recipe.batch,), generator=g)
        logits = torch.cat([logits_of(int(k)) for k in chosen])
        reward = known[chosen].to(setting.device)
        loss = bandit_loss(logits, reward, scale[chosen].to(setting.device), recipe.entropy)
        return {"loss": loss, "reward": (logits.softmax(1) * reward).sum(1).mean()}

    weights: Weights = dict(network.named_parameters())
    identity = setting.identity("policy")
    task = Task("policy", recipe, weights, loss, lambda _: (None, {}), identity, {"clips": table.clips.names})
    trainer = Trainer(task, setting.run, setting.seed, setting.workers)
    if checkpoint is not None:
        trainer.resume(checkpoint)
    average = trainer.train(progress)
    with torch.no_grad():
        for name, value in weights.items():
            value.copy_(average[name])
        logits = torch.cat([logits_of(k) for k in range(len(known), recipe.clips)]).cpu()
    return network.state_dict(), report(logits, values[len(known) :], known, recipe.grid)
