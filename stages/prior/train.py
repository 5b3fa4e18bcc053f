"""Train the `small` prior on procedural worlds: exact depth plus the pictures of its Gaussians between and beyond the pair.

Run by `make train-prior` (videoscene_cli/training/prior.py). A step is a pure function of weights, optimiser state and step number: a
run killed at any time resumes from its last checkpoint and ends with the same weights.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor

from stages.errors import InputError
from stages.files.publish import publish
from stages.prior.config import SMALL
from stages.prior.loss import covisible, inverse_depth_error, picture_error, plane_cross_entropy
from stages.prior.network import MVSplat, PriorOutput
from stages.prior.recipe import Recipe
from stages.scene import Cameras
from stages.splat import draw
from stages.training import adamw, average_decay, learning_rate


@dataclass(frozen=True)
class Batch:
    """images [B, V, 3, h, w], the first two are the photographs; depth [B, V, h, w]; c2w [B, V, 4, 4]; K [B, 3, 3]; near_far [B, 2, 2]."""

    images: Tensor
    depth: Tensor
    c2w: Tensor
    K: Tensor
    near_far: Tensor


def draw_batch(shards: list[Path], recipe: Recipe, step: int) -> Batch:
    """The pairs of a step: random scenes of one shard, mirrored, swapped and recoloured at random."""
    g = Generator().manual_seed(recipe.seed * 10_000_019 + step)
    path = shards[int(torch.randint(len(shards), (), generator=g))]
    with safe_open(path, "pt") as shard:
        names = ("images", "depth", "c2w", "K")
        count = shard.get_slice("K").get_shape()[0]
        start = int(torch.randint(count - recipe.batch + 1, (), generator=g))
        images, depth, c2w, K = (shard.get_slice(name)[start : start + recipe.batch] for name in names)
    images, depth = images.float() / 255, depth.float()
    mirror, swap, recolour = (torch.rand(3, generator=g) < 0.5).tolist()
    if mirror:
        images, depth = images.flip(-1), depth.flip(-1)
        flip = torch.diag(torch.tensor([-1.0, 1, 1, 1]))
        c2w = flip @ c2w @ flip
        K = K.clone()
        K[:, 0, 2] = images.shape[-1] - K[:, 0, 2]
    if swap:
        order = [1, 0, *range(2, images.shape[1])]
        images, depth, c2w = images[:, order], depth[:, order], c2w[:, order]
    if recolour:
        images = images[:, :, torch.randperm(3, generator=g)]
    low, high = depth[:, :2].flatten(2).quantile(torch.tensor([0.02, 0.98]), -1)
    near = low * (0.5 + 0.45 * torch.rand(low.shape, generator=g))
    far = high * (1.2 + 2.8 * torch.rand(high.shape, generator=g))
    return Batch(images, depth, c2w, K, torch.stack([near, far], -1))


def losses(network: MVSplat, batch: Batch, unseen: float) -> tuple[PriorOutput, dict[str, Tensor]]:
    """One forward pass and its three losses, scalars by name. unseen: see `Recipe`."""
    pair = batch.K[:, None].expand(-1, 2, 3, 3)
    out = network(batch.images[:, :2], batch.c2w[:, :2], pair, batch.near_far)
    truth = batch.depth[:, :2]
    weight = unseen + (1 - unseen) * covisible(truth, batch.c2w, batch.K)
    coarse, coarse_weight = truth[..., 2::4, 2::4], weight[..., 2::4, 2::4]
    size = (batch.images.shape[-2], batch.images.shape[-1])
    pictures = []
    for b in range(len(batch.images)):
        cameras = Cameras(batch.c2w[b], batch.K[b].expand(batch.c2w.shape[1], 3, 3), size)
        pictures.append(draw(out.scene(b), cameras).image)
    return out, {
        "depth": inverse_depth_error(out.depth, truth, batch.near_far, network.config.depth_candidates, weight),
        "planes": plane_cross_entropy(out.depth_logits, coarse, batch.near_far, coarse_weight),
        "picture": picture_error(torch.cat(pictures), batch.images.flatten(0, 1)),
    }


class Trainer:
    """Network, averaged weights and optimiser of a run, with its checkpoints.

    worlds: folder of shards (stages/worlds/shards.py).  run: folder of checkpoint.safetensors, log.jsonl, prior.safetensors.
    start: weights to start from, fresh ones without.  Raises InputError when there is no shard, or the run is of another recipe.
    """

    def __init__(self, worlds: Path, run: Path, recipe: Recipe, start: Path | None = None) -> None:
        self.shards = sorted(worlds.glob("*.safetensors"))
        if not self.shards:
            raise InputError(f"no training data in {worlds}", "it holds no shard", "make some with `make train-prior`")
        self.recipe, self.run = recipe, run
        run.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        self.network = MVSplat(SMALL)
        if start is not None:
            self.network.load_state_dict(load_file(start))
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.optimiser = adamw(self.network.parameters(), recipe.learning_rate, recipe.weight_decay)
        self.step = 0
        if self.checkpoint.exists():
            self._resume()

    @property
    def checkpoint(self) -> Path:
        """The newest state, replaced atomically."""
        return self.run / "checkpoint.safetensors"

    def train(self) -> None:
        """Run to the end of the recipe, logging one JSON line every 25 steps."""
        sums: dict[str, float] = {}
        since = time.monotonic()
        self.network.train()
        while self.step < self.recipe.steps:
            row = self._step()
            for name, value in row.items():
                sums[name] = sums.get(name, 0.0) + value / 25
            if self.step % 25 == 0:
                self._log({"step": self.step, **{k: round(v, 5) for k, v in sums.items()}, "seconds": round(time.monotonic() - since, 2)})
                sums, since = {}, time.monotonic()
            if self.step % self.recipe.every == 0 or self.step == self.recipe.steps:
                self._save()

    def _step(self) -> dict[str, float]:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self.recipe.steps, self.recipe.learning_rate, self.recipe.warmup)
        batch = draw_batch(self.shards, self.recipe, self.step)
        _, parts = losses(self.network, batch, self.recipe.unseen)
        total = self.recipe.depth * parts["depth"] + self.recipe.planes * parts["planes"] + self.recipe.picture * parts["picture"]
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        if torch.isfinite(norm):  # a step whose gradient overflowed teaches nothing
            self.optimiser.step()
        self.step += 1
        decay = average_decay(self.recipe.ema, self.step)
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
        return {name: float(value.detach()) for name, value in parts.items()}

    def _log(self, row: dict[str, object]) -> None:
        with (self.run / "log.jsonl").open("a") as log:
            log.write(json.dumps(row) + "\n")

    def _save(self) -> None:
        tensors = {f"network.{k}": v.contiguous() for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v.contiguous() for k, v in self.average.items()}
        for k, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{k}.{name}": torch.as_tensor(value).contiguous() for name, value in state.items()}
        with publish(self.checkpoint) as partial:
            save_file(tensors, partial, {"step": str(self.step), "recipe": json.dumps(asdict(self.recipe))})
        with publish(self.run / "prior.safetensors") as partial:
            save_file({k: v.contiguous() for k, v in self.average.items()}, partial, {"step": str(self.step)})

    def _resume(self) -> None:
        tensors = load_file(self.checkpoint)
        with safe_open(self.checkpoint, "pt") as file:
            found = file.metadata()
        if json.loads(found["recipe"]) != asdict(self.recipe):
            raise InputError(f"{self.run} cannot be resumed", "it was started with another recipe or seed", "choose another folder")
        self.step = int(found["step"])
        self.network.load_state_dict({k[8:]: v for k, v in tensors.items() if k.startswith("network.")})
        self.average = {k[8:]: v for k, v in tensors.items() if k.startswith("average.")}
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimiser."):
                _, index, name = key.split(".", 2)
                state.setdefault(int(index), {})[name] = value
        whole = self.optimiser.state_dict()
        whole["state"] = state
        self.optimiser.load_state_dict(whole)
