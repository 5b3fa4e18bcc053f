"""The phases that train a prior: monocular (the monocular branch, on single pictures) -> prior (all of it, on pairs).

`monocular` starts from the weights that the recipe names, or from random ones (prior_start.py). `prior` starts from the
averaged weights of `monocular`, or like `monocular` if the recipe gives that phase no steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.func import functional_call

from stages.distill.checkpoints import hash_identity, load_finished, read_facts
from stages.distill.clip_shards import shards_of_run
from stages.distill.model import Weights
from stages.distill.prior_losses import (
    covisible,
    edge_error,
    gap_error,
    inverse_depth_error,
    monocular_error,
    picture_error,
    plane_cross_entropy,
)
from stages.distill.prior_pairs import Batch, Pool, make_batch
from stages.distill.recipe_file import Config, MonocularRecipe, Phase, PriorRecipe
from stages.distill.training_loop import Progress, Task, Trainer, generator, newest
from stages.distill.workers import Workers
from stages.errors import InputError
from stages.prior.network import MVSplat, PriorOutput
from stages.render import blend_layers, fill_holes, nearness
from stages.scene import Cameras
from stages.splat import draw, near_plane

BRANCH = "backbone.monocular."  # the names of the monocular branch's weights begin with this
ENCODER = "backbone.monocular.encoder."  # the names of the weights of the branch's encoder begin with this
PREVIEW_SCENES = 2  # number of held-out scenes that are measured at every checkpoint


@dataclass(frozen=True)
class PriorContext:
    """What both phases of a run share.

    network: the prior's network, on `device`.  start: its first weights.  run: the run's folder.
    shards: files of pairs, in a fixed order. Those of worlds need not exist yet.
    origin: hashes of the files of the first weights, or "random".  furniture: hash of the furniture pack, or None.
    check: raises an error when missing shards will not come.
    """

    config: Config
    network: MVSplat
    start: Weights
    run: Path
    shards: tuple[Path, ...]
    seed: int
    origin: str
    furniture: str | None
    device: torch.device
    workers: Workers
    check: Callable[[], None] = lambda: None

    def before(self, phase: Phase) -> Phase | None:
        """The phase whose weights a phase starts from, or None."""
        return "monocular" if phase == "prior" and self.config.monocular.steps else None

    def identity(self, phase: Phase) -> dict[str, Any]:
        """The settings that decide the weights of a phase. They contain those of earlier phases as a hash."""
        plain, before = self.config.to_dict(), self.before(phase)
        return {
            "from": self.origin if before is None else hash_identity(self.identity(before)),
            "seed": self.seed,
            "furniture": self.furniture,
            **{key: plain["data"][key] for key in ("pairs", "scenes", "sizes", "recorded")},
            **{key: plain[key] for key in ("model", "precision")},
            **self.workers.identity,
            **plain[phase],
        }

    def trained(self, phase: Phase) -> Weights:
        """The parameters that a phase trains, by name."""
        frozen = self.config.prior.frozen
        return {
            name: value
            for name, value in self.network.named_parameters()
            if (name.startswith(BRANCH) if phase == "monocular" else not name.startswith(frozen))
        }


def finished(context: PriorContext, phase: Phase) -> Weights:
    """All weights of the network after a finished phase. Raises InputError if it is unfinished or of other settings."""
    steps, own = getattr(context.config, phase).steps, context.trained(phase)
    return first_weights(context, phase) | load_finished(context.run, phase, steps, context.identity(phase), own)


def first_weights(context: PriorContext, phase: Phase) -> Weights:
    """All weights of the network at the start of a phase."""
    before = context.before(phase)
    return dict(context.start) if before is None else finished(context, before)


def train_phase(context: PriorContext, phase: Phase, progress: Progress) -> None:
    """Train a phase to its end, from its newest checkpoint if there is one.

    Raises InputError when the phase before is unfinished or a checkpoint is of other settings, WeightsError when one is
    damaged, RunError when missing shards will not come.
    """
    network, checkpoint = context.network, newest(context.run, phase)
    start = first_weights(context, phase)
    weights = context.trained(phase)
    with torch.no_grad():
        for name, value in network.named_parameters():
            value.copy_(start[name])
            value.requires_grad_(name in weights)
    network.compute_in_half(context.config.precision == "bfloat16" and context.device.type == "cuda")
    pairs = Pairs(context, phase, None if checkpoint is None else read_facts(checkpoint).get("clips"))
    recipe: MonocularRecipe | PriorRecipe = getattr(context.config, phase)
    slow = frozenset(name for name in weights if name.startswith(ENCODER))
    task = Task(
        phase,
        recipe,
        weights,
        pairs.loss,
        pairs.preview,
        context.identity(phase),
        {"clips": pairs.names},
        slow,
        recipe.encoder,
    )
    trainer = Trainer(task, context.run, context.seed, context.workers)
    if checkpoint is not None:
        trainer.resume(checkpoint)
    network.train()
    trainer.train(progress)


class Pairs:
    """The pairs of a phase, the losses of a step, and the preview.

    The first shard is held out to measure the training, if there are two or more.
    names: the shards that the phase's first checkpoint recorded, or None before that (see `phases.Clips`).
    Raises InputError when there is no shard, or when a recorded one is missing.
    """

    def __init__(self, context: PriorContext, phase: Phase, names: list[str] | None) -> None:
        shards = shards_of_run(context.shards, context.run, names)
        self.names, paths = list(shards), list(shards.values())
        if not self.names:
            why = "the recipe makes none, and --clips names no folder"
            raise InputError("no training pairs", why, "write pairs: N into section `data` of the recipe")
        self.context, self.phase = context, phase
        self.recipe: MonocularRecipe | PriorRecipe = getattr(context.config, phase)
        needs_depth = phase == "monocular"
        self.held_out = Pool(paths[:1], needs_depth, context.check)
        self.pool = Pool(paths[1:] or paths, needs_depth, context.check)
        self.losses = PhaseLosses(context.network)

    def loss(self, step: int, g: Generator, _: Weights) -> dict[str, Tensor]:
        """The losses of a step, and for the log the number of shards and the seconds that it waited for them."""
        self.pool.waited = 0.0
        self.pool.take(self.recipe.shards(step, len(self.pool.paths)))
        batch = make_batch(self.pool.sample(self.recipe.batch, g), g, self.context.device, self.recipe.width)
        parts = self.losses(batch, self.recipe)
        return parts | {"shards": torch.tensor(float(self.pool.loaded)), "waited": torch.tensor(self.pool.waited)}

    @cached_property
    def _previewed(self) -> Batch:
        """Some held-out scenes, the same in every phase."""
        self.held_out.take(1)
        g = generator(self.context.seed, "look")
        return make_batch(self.held_out.sample(PREVIEW_SCENES, g), g, self.context.device, None)

    @torch.no_grad()
    def preview(self, average: Weights) -> tuple[Tensor, dict[str, float]]:
        """A picture of a held-out scene (photographs, inverse depth, true inverse depth), and losses of some scenes."""
        batch, network = self._previewed, self.context.network
        weights = {f"network.{name}": value for name, value in average.items()}
        parts = functional_call(self.losses, weights, (batch, self.recipe))
        inverse = functional_call(_Depths(network), weights, (batch, self.phase))
        rows = [batch.images[0, :2], _shade(inverse)]
        rows += [] if batch.depth is None else [_shade(1 / batch.depth[0, :2])]
        picture = torch.cat([torch.cat(list(row), -1) for row in rows], -2)
        return picture.cpu(), {name: float(value) for name, value in parts.items()}


class PhaseLosses(nn.Module):
    """A network and its losses as one module, so that they can be computed with other weights."""

    def __init__(self, network: MVSplat) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch, recipe: MonocularRecipe | PriorRecipe) -> dict[str, Tensor]:
        """The losses of a batch, scalars by name; "loss" is their weighted sum."""
        if isinstance(recipe, MonocularRecipe):
            return {"loss": self._of_single_pictures(batch)}
        parts = self._of_pairs(batch, recipe)
        if not parts:
            why = "they have no depth, and the recipe renders no pictures"
            hint = "write pictured: 1 into the section prior"
            raise InputError("nothing to learn from the training pairs", why, hint)
        total = torch.stack([getattr(recipe, name) * value for name, value in parts.items()]).sum()
        return {"loss": total, **parts}

    def _of_single_pictures(self, batch: Batch) -> Tensor:
        """The loss of the monocular branch on every picture of a batch, a scalar."""
        assert batch.depth is not None, "the pool was asked for depth"
        depth = batch.depth[..., 2::4, 2::4].flatten(0, 1)[:, None]
        return monocular_error(self.network.backbone.monocular_output(batch.images.flatten(0, 1)), depth)

    def _of_pairs(self, batch: Batch, recipe: PriorRecipe) -> dict[str, Tensor]:
        """The losses of the whole network on pairs, scalars by name: those that the batch and the recipe allow.

        "alone" is the loss of the monocular branch, which sees each photograph alone.
        """
        config, K = self.network.config, batch.K[:, None].expand(-1, 2, 3, 3)
        out: PriorOutput = self.network(batch.images[:, :2], batch.c2w[:, :2], K, batch.near_far, None, batch.points)
        parts: dict[str, Tensor] = {}
        # MVSplat's released network predicts distances along rays, which no shard has.
        if batch.depth is not None and config.depth_convention == "z":
            truth = batch.depth[:, :2]
            weight = recipe.unseen + (1 - recipe.unseen) * covisible(truth, batch.c2w[:, :2], batch.K)
            coarse, coarse_weight = truth[..., 2::4, 2::4], weight[..., 2::4, 2::4]
            planes = out.inverse_depths
            parts["depth"] = inverse_depth_error(out.depth, truth, planes, config.nearer_candidates, weight)
            parts["planes"] = plane_cross_entropy(out.depth_logits, coarse, planes, coarse_weight)
            parts["edges"] = edge_error(out.depth, truth, planes)
            if out.monocular is not None:
                parts["alone"] = monocular_error(out.monocular, coarse.flatten(0, 1)[:, None])
        if recipe.pictured:
            rendered = [_render(out, batch, b) for b in range(min(recipe.pictured, len(batch.images)))]
            truth = batch.images[: len(rendered), 2:].flatten(0, 1)
            parts["picture"] = picture_error(torch.cat([image for image, _ in rendered]), truth)
            parts["gaps"] = gap_error(torch.cat([alpha for _, alpha in rendered]))
        return parts


class _Depths(nn.Module):
    """The inverse depth that a phase's part of the network predicts for the photographs of the first scene."""

    def __init__(self, network: MVSplat) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch, phase: Phase) -> Tensor:
        """Inverse depth [2, H, W] of the two photographs."""
        images = batch.images[:1, :2]
        if phase == "monocular":
            inverse = self.network.backbone.monocular_output(images[0]).log_inverse.exp()
            return F.interpolate(inverse, images.shape[-2:], mode="bilinear")[:, 0]
        K = batch.K[:1, None].expand(-1, 2, 3, 3)
        points = None if batch.points is None else batch.points[:1]
        return 1 / self.network(images, batch.c2w[:1, :2], K, batch.near_far[:1], None, points).depth[0]


def _render(out: PriorOutput, batch: Batch, b: int) -> tuple[Tensor, Tensor]:
    """Scene b from the cameras beyond the first two: its two layers, blended as `stages.render` blends them.

    The colours are those of the Gaussians, and not looked up in the photographs, so that Gaussians learn.
    Returns images [V - 2, 3, h, w] and alpha [V - 2, h, w].
    """
    size = (batch.images.shape[-2], batch.images.shape[-1])
    cameras = Cameras(batch.c2w[b], batch.K[b].expand(batch.c2w.shape[1], 3, 3), size)
    scene = out.scene(b)
    half = len(scene.means) // 2
    near = near_plane(scene.means.detach(), cameras)
    first, second = (draw(scene[part], cameras[slice(2, None)], near=near) for part in (slice(half), slice(half, None)))
    drawing = blend_layers(first, second, nearness(cameras[slice(2, None)], cameras[slice(2)]))
    return fill_holes(drawing.image, drawing.alpha), drawing.alpha


def _shade(inverse: Tensor) -> Tensor:
    """Inverse depths [N, h, w] as grey pictures [N, 3, h, w], near bright."""
    low, high = inverse.float().flatten(1)[:, ::7].quantile(torch.tensor([0.02, 0.98]).to(inverse.device), 1)
    span = (high - low).clamp_min(1e-9)[:, None, None]
    return ((inverse - low[:, None, None]) / span).clamp(0, 1)[:, None].expand(-1, 3, -1, -1)
