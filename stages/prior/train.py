"""Train the `small` prior on worlds: exact depth, what one photograph alone tells of it, and the pictures of the Gaussians.

A step is a function of weights, optimiser state, step number and the shards it may draw from, whose number the recipe tells: a run
killed at any time resumes from its last checkpoint. Runs on any device; on a GPU convolutions may compute in bfloat16.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor

from stages.errors import InputError
from stages.files.publish import publish
from stages.training import average_decay, learning_rate
from stages.prior.config import SMALL
from stages.prior.loss import covisible, edge_error, inverse_depth_error, monocular_error, picture_error, plane_cross_entropy
from stages.prior.network import MVSplat, PriorOutput
from stages.prior.pool import Batch, Pool, make_batch
from stages.prior.recipe import Recipe
from stages.render import blend_layers, fill_holes, nearness
from stages.scene import Cameras
from stages.splat import draw, near_plane

ENCODER = "backbone.monocular.encoder."  # has seen more pictures than training will show it, and learns more slowly


def losses(network: MVSplat, batch: Batch, recipe: Recipe) -> dict[str, Tensor]:
    """One forward pass and its losses, scalars by name; of the pictures only those of the first `recipe.pictured` scenes."""
    if recipe.alone_only:
        assert network.backbone.monocular is not None
        depth = batch.depth[..., 2::4, 2::4].flatten(0, 1)[:, None]
        return {"alone": monocular_error(network.backbone.alone(batch.images.flatten(0, 1)), depth)}
    pair = batch.K[:, None].expand(-1, 2, 3, 3)
    out = network(batch.images[:, :2], batch.c2w[:, :2], pair, batch.near_far)
    truth = batch.depth[:, :2]
    weight = recipe.unseen + (1 - recipe.unseen) * covisible(truth, batch.c2w[:, :2], batch.K)
    coarse, coarse_weight = truth[..., 2::4, 2::4], weight[..., 2::4, 2::4]
    parts = {
        "depth": inverse_depth_error(out.depth, truth, out.inverse_depths, network.config.nearer_candidates, weight),
        "planes": plane_cross_entropy(out.depth_logits, coarse, out.inverse_depths, coarse_weight),
        "edges": edge_error(out.depth, truth, out.inverse_depths),
    }
    if out.alone is not None:
        parts["alone"] = monocular_error(out.alone, coarse.flatten(0, 1)[:, None])
    if recipe.pictured:
        shown = [_drawn(out, batch, b) for b in range(min(recipe.pictured, len(batch.images)))]
        parts["picture"] = picture_error(torch.cat(shown), batch.images[: len(shown), 2:].flatten(0, 1))
    return parts


def _drawn(out: PriorOutput, batch: Batch, b: int) -> Tensor:
    """The pictures of scene b at the cameras beyond the first two, as `render` draws them, [V - 2, 3, h, w]."""
    size = (batch.images.shape[-2], batch.images.shape[-1])
    views = batch.c2w.shape[1]
    cameras = Cameras(batch.c2w[b], batch.K[b].expand(views, 3, 3), size)
    scene = out.scene(b)
    half = len(scene.means) // 2
    near = near_plane(scene.means.detach(), cameras)
    first, second = (draw(scene[part], cameras[slice(2, None)], near=near) for part in (slice(half), slice(half, None)))
    drawing = blend_layers(first, second, nearness(cameras[slice(2, None)], cameras[slice(2)]))
    return fill_holes(drawing.image, drawing.alpha)




class Trainer:
    """Network, averaged weights and optimiser of a run, with its checkpoints.

    worlds: folder of shards (stages/worlds/shards.py), which may still be made.  run: folder of checkpoint.safetensors, log.jsonl,
    prior.safetensors.  start: weights to start from; tensors it lacks, or has with fewer input channels, start as `widen` says.
    Raises InputError when the run is of another recipe.
    """

    def __init__(self, worlds: Path, run: Path, recipe: Recipe, start: Path | None = None, device: torch.device | str = "cpu") -> None:
        self.recipe, self.run, self.device = recipe, run, torch.device(device)
        run.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        network = MVSplat(SMALL)
        if start is not None:
            network.load_state_dict(widen(load_file(start), network.state_dict()))
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(not name.startswith(recipe.frozen))
        self.network = network.to(self.device)
        self.network.compute_in_half(self.device.type == "cuda")
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.optimiser = torch.optim.AdamW(list(_groups(self.network, recipe)), betas=(0.9, 0.99))
        self.pool = Pool(worlds)
        self.step = 0
        if self.checkpoint.exists():
            self._resume()

    @property
    def checkpoint(self) -> Path:
        """The newest state, replaced atomically."""
        return self.run / "checkpoint.safetensors"

    def train(self) -> None:
        """Run to the end of the recipe, logging one JSON line every `recipe.logged` steps."""
        sums: dict[str, Tensor] = {}
        since = time.monotonic()
        self.network.train()
        while self.step < self.recipe.steps:
            for name, value in self.advance().items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + value / self.recipe.logged
            if self.step % self.recipe.logged == 0:
                row = {k: round(float(v), 5) for k, v in sums.items()}
                self._log({"step": self.step, **row, "shards": self.pool.loaded, "seconds": round(time.monotonic() - since, 2)})
                sums, since = {}, time.monotonic()
            if self.step % self.recipe.every == 0 or self.step == self.recipe.steps:
                self.save()

    def advance(self) -> dict[str, Tensor]:
        """One optimiser step. Returns its losses."""
        recipe = self.recipe
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, recipe.steps, recipe.learning_rate * group["share"], recipe.warmup)
        generator = Generator().manual_seed(recipe.seed * 10_000_019 + self.step)
        self.pool.take(recipe.shards(self.step))
        batch = make_batch(self.pool.sample(recipe.batch, generator), generator, self.device, recipe.width)
        parts = losses(self.network, batch, recipe)
        total = sum((getattr(recipe, name) * value for name, value in parts.items()), torch.zeros((), device=self.device))
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip_norm)
        if bool(torch.isfinite(norm)):  # a step whose gradient overflowed teaches nothing
            self.optimiser.step()
        self.step += 1
        decay = average_decay(recipe.ema, self.step)
        state = self.network.state_dict()
        names = [name for name, value in state.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.average[name] for name in names], [state[name] for name in names], 1 - decay)
        return {name: value.detach() for name, value in parts.items()}

    def _log(self, row: dict[str, object]) -> None:
        with (self.run / "log.jsonl").open("a") as log:
            log.write(json.dumps(row) + "\n")

    def save(self) -> None:
        """Write the checkpoint, and the averaged weights as prior.safetensors."""
        tensors = {f"network.{k}": v.cpu().contiguous() for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v.cpu().contiguous() for k, v in self.average.items()}
        for k, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{k}.{name}": torch.as_tensor(value).cpu().contiguous() for name, value in state.items()}
        with publish(self.checkpoint) as partial:
            save_file(tensors, partial, {"step": str(self.step), "recipe": json.dumps(asdict(self.recipe))})
        with publish(self.run / "prior.safetensors") as partial:
            save_file({k: v.cpu().contiguous() for k, v in self.average.items()}, partial, {"step": str(self.step)})

    def _resume(self) -> None:
        tensors = load_file(self.checkpoint, device=str(self.device))
        with safe_open(self.checkpoint, "pt") as file:
            found = file.metadata()
        if json.loads(found["recipe"]) != json.loads(json.dumps(asdict(self.recipe))):
            raise InputError(f"{self.run} cannot be resumed", "it was started with another recipe or seed", "choose another folder")
        self.step = int(found["step"])
        self.network.load_state_dict(_below("network.", tensors))
        self.average = _below("average.", tensors)
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _below("optimiser.", tensors).items():
            index, name = key.split(".", 1)
            state.setdefault(int(index), {})[name] = value
        whole = self.optimiser.state_dict()
        whole["state"] = state
        self.optimiser.load_state_dict(whole)


def widen(weights: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a network without the monocular branch as those of one with it: new input channels count for nothing at first.

    weights: what there is.  state: of a fresh network, whose tensors stay where `weights` has none.
    """
    widened = dict(state)
    for name, value in weights.items():
        if value.shape != state[name].shape:
            wider = torch.zeros_like(state[name])
            wider[:, : value.shape[1]] = value
            value = wider
        widened[name] = value
    return widened


def _groups(network: MVSplat, recipe: Recipe) -> Iterator[dict[str, object]]:
    """Parameter groups of AdamW: matrices alone decay, and the encoder learns at a share of the rate."""
    for encoder in (False, True):
        for matrices in (False, True):
            trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
            chosen = [p for name, p in trained if name.startswith(ENCODER) == encoder and (p.dim() > 1) == matrices]
            decay = recipe.weight_decay if matrices else 0.0
            yield {"params": chosen, "weight_decay": decay, "share": recipe.encoder if encoder else 1.0, "lr": recipe.learning_rate}


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
