"""How the `small` prior is trained, in plain numbers."""

from __future__ import annotations

from dataclasses import dataclass

# Of the surfaces of the worlds: seed, tiles of photographs, procedural tiles.
TEXTURE_SEED, PHOTOS, PROCEDURAL = 1000, 900, 200


@dataclass(frozen=True)
class Recipe:
    """One training run.

    steps: optimiser steps.  batch: pairs per step.  learning_rate: AdamW's peak, cosine to 2 %.  encoder: its share for the encoder that
    has seen photographs.  ema: decay of the averaged weights.  width: columns that wider pictures are cut to, or None.
    depth, planes, edges, alone, picture: weights of the losses.  unseen: weight of pixels that the other view does not see in the first
    two.  pictured: scenes of a batch whose Gaussians are drawn.
    first_shards, shards_per_step, last_shards: how many shards a step may draw from: at first, more per step, and at most.
    every: steps between checkpoints.  logged: steps between lines of the log.
    """

    steps: int = 4500
    batch: int = 1
    learning_rate: float = 4e-4
    encoder: float = 0.25
    warmup: int = 100
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    ema: float = 0.998
    width: int | None = None
    depth: float = 0.3
    planes: float = 0.1
    edges: float = 2.0
    alone: float = 0.3
    picture: float = 4.0
    unseen: float = 0.7
    pictured: int = 1
    alone_only: bool = False
    frozen: tuple[str, ...] = ()
    first_shards: int = 1
    shards_per_step: float = 0.0
    last_shards: int = 1
    every: int = 250
    logged: int = 25
    seed: int = 0

    def shards(self, step: int) -> int:
        """How many shards step `step`, from 0, may draw from."""
        return min(self.last_shards, self.first_shards + int(step * self.shards_per_step))
