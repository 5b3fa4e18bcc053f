"""The policy's phase: compute rewards of all leap steps for some clips, fit DDPNet, report on held-out clips."""

import functools
import hashlib
from typing import Any

import torch
from torch import Generator, Tensor

from stages.distill.checkpoints import read_facts, require_identity
from stages.distill.model import Batch, Weights
from stages.distill.phases import Clips, RunContext, finished, noise_like
from stages.distill.policy import DDPNet, bandit_loss, policy_report, pooled, rewards, spread
from stages.distill.recipe_file import PolicyRecipe
from stages.distill.training_loop import Progress, Task, Trainer, generator, newest
from stages.errors import WeightsError
from stages.files.publish import write_json
from stages.files.weight_tensors import read_json_object

REWARDS_FILE = "rewards.json"
# The settings that decide the rewards.
REWARD_SETTINGS = ("from", "seed", "frames", "size", "model", "network", "precision", "grid", "clips", "held_out")


def held_out_count(recipe: PolicyRecipe) -> int:
    """The number of clips kept for the report. They are the last ones."""
    return max(1, min(recipe.clips - 1, round(recipe.clips * recipe.held_out)))


class RewardTable:
    """The rewards of some clips. Each is stored as soon as it is computed, in checkpoints/policy/rewards.json.

    Clip k is the same random clip in every run with the same seed, recipe and shards. Held-out clips come from shards
    that no phase trained on, if there are at least two shards. Raises InputError when the file is of other settings,
    WeightsError when it is damaged.
    """

    def __init__(self, context: RunContext) -> None:
        self.context, self.recipe = context, context.config.policy
        self.path = context.run / "checkpoints" / "policy" / REWARDS_FILE
        self.identity = {key: value for key, value in context.identity("policy").items() if key in REWARD_SETTINGS}
        stored: dict[str, Any] = {}
        if self.path.exists():
            stored = read_json_object(self.path)
            kinds = {"identity": dict, "rewards": list, "clips": list}
            if not all(isinstance(stored.get(key), kind) for key, kind in kinds.items()):
                why = "it is not a table of rewards"
                raise WeightsError(f"damaged {self.path}", why, "remove it, to compute it again")
            require_identity(self.path, stored, self.identity)
        self.rows: list[list[float]] = list(stored.get("rewards", []))
        self.clips = Clips(context, stored.get("clips"))

    def batch(self, k: int) -> tuple[Batch, Tensor]:
        """Clip k, and the noise with which its rewards are computed."""
        g = generator(self.context.seed, "policy clip", k)
        batch = self.clips.sample(g, 1, held_out=k >= self.recipe.clips - held_out_count(self.recipe))
        return batch, noise_like(batch.z_render, g)

    def compute(self, student: Weights, progress: Progress) -> Tensor:
        """The rewards of all clips, [clips, len(grid)]; computes those that are missing. student: see `Model.at`."""
        backbone, workers = self.context.model.at(student), self.context.workers
        progress(len(self.rows), self.recipe.clips)
        while len(self.rows) < self.recipe.clips:
            # Each process takes one of the next clips, or repeats the last one where there are too few.
            own = min(len(self.rows) + workers.rank, self.recipe.clips - 1)
            batch, noise = self.batch(own)
            row = rewards(backbone, batch.z_render, batch.z_truth, batch.condition, self.recipe.grid, noise)[0]
            new_rows = [row.tolist() for row in workers.gather(row)]
            self.rows += new_rows[: self.recipe.clips - len(self.rows)]
            if workers.rank == 0:
                write_json(self.path, {"identity": self.identity, "clips": self.clips.names, "rewards": self.rows})
            progress(len(self.rows), self.recipe.clips)
        workers.wait()
        return torch.tensor(self.rows)


def train_policy(context: RunContext, progress: Progress, rewarding: Progress) -> tuple[Weights, dict[str, object]]:
    """Train DDPNet for the run's finished student. Returns its weights and the report.

    rewarding: reports progress while rewards are computed.
    Raises InputError when the student is unfinished or a checkpoint is of other settings, WeightsError when one is
    damaged.
    """
    recipe = context.config.policy
    # Compute the rewards with the finished student.
    student = context.model.placed(finished(context, "student"))
    checkpoint = newest(context.run, "policy")
    if checkpoint is not None:
        require_identity(checkpoint, read_facts(checkpoint), context.identity("policy"))
    table = RewardTable(context)
    values = table.compute(student, rewarding)
    training_rewards = values[: recipe.clips - held_out_count(recipe)]
    scale = spread(training_rewards)
    # Set up the network. Its input is computed once per clip and kept in main memory: 2000 large clips would fill a
    # GPU.
    torch.manual_seed(int(hashlib.sha256(f"{context.seed}/policy".encode()).hexdigest()[:8], 16))

    @functools.cache
    def policy_input(k: int) -> tuple[Tensor, Tensor]:
        batch, _ = table.batch(k)
        return batch.z_render.cpu(), pooled(batch.coverage, batch.z_render).cpu()

    def logits_of(k: int) -> Tensor:
        latent, coverage = policy_input(k)
        return network(latent.to(context.device), coverage.to(context.device))

    network = DDPNet(policy_input(0)[0].shape[2], recipe.width, recipe.grid).to(context.device)

    def loss(step: int, g: Generator, _: Weights) -> dict[str, Tensor]:
        chosen = torch.randint(len(training_rewards), (recipe.batch,), generator=g)
        logits = torch.cat([logits_of(int(k)) for k in chosen])
        reward = training_rewards[chosen].to(context.device)
        loss = bandit_loss(logits, reward, scale[chosen].to(context.device), recipe.entropy)
        return {"loss": loss, "reward": (logits.softmax(1) * reward).sum(1).mean()}

    # Train, then report on the held-out clips with the averaged weights.
    weights: Weights = dict(network.named_parameters())
    identity = context.identity("policy")
    task = Task("policy", recipe, weights, loss, lambda _: (None, {}), identity, {"clips": table.clips.names})
    trainer = Trainer(task, context.run, context.seed, context.workers)
    if checkpoint is not None:
        trainer.resume(checkpoint)
    average = trainer.train(progress)
    with torch.no_grad():
        for name, value in weights.items():
            value.copy_(average[name])
        logits = torch.cat([logits_of(k) for k in range(len(training_rewards), recipe.clips)]).cpu()
    return network.state_dict(), policy_report(logits, values[len(training_rewards) :], training_rewards, recipe.grid)
