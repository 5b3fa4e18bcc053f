"""How the shipped `small` prior was trained: three phases, each with worlds of its own. Plain numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

# Of the surfaces of the worlds: seed, tiles of photographs, procedural tiles.
TEXTURE_SEED, PHOTOS, PROCEDURAL = 1000, 900, 200


@dataclass(frozen=True)
class Recipe:
    """steps: optimiser steps.  batch: pairs a step.  learning_rate: AdamW's peak, cosine to 2 %.  ema: decay of the averaged weights.
    depth, planes, picture: weights of the three losses.  unseen: weight of pixels that the other view does not see in the first two.
    every: steps between checkpoints.
    """

    steps: int = 4500
    batch: int = 1
    learning_rate: float = 4e-4
    warmup: int = 100
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    ema: float = 0.998
    depth: float = 0.3
    planes: float = 0.1
    picture: float = 4.0
    unseen: float = 0.15
    every: int = 250
    seed: int = 0


@dataclass(frozen=True)
class Worlds:
    """The shards of a phase: `count` from number `first` on, of `scenes` worlds each, at these sizes (h, w) in turn, from `seed`."""

    first: int
    count: int
    scenes: int
    sizes: tuple[tuple[int, int], ...]
    seed: int


@dataclass(frozen=True)
class Phase:
    """A training run, and the worlds it draws from. Each phase but the first starts from the weights of the one before."""

    name: str
    worlds: Worlds
    recipe: Recipe


def phases(seed: int = 0) -> tuple[Phase, Phase, Phase]:
    """Matching is learnt on many small pictures; then, near the size of use, also what only one photograph shows, twice over."""
    small = ((128, 192), (160, 160), (128, 224), (192, 128), (128, 192), (144, 208), (160, 160), (192, 288))
    large = ((192, 288), (256, 256), (192, 336), (160, 240), (288, 192), (256, 384), (192, 256), (224, 224))
    first = Recipe(seed=seed)
    second = replace(first, steps=2400, learning_rate=3e-4, unseen=0.5, every=200, seed=seed + 1)
    return (
        Phase("matching", Worlds(0, 24, 64, small, seed), first),
        Phase("whole", Worlds(24, 64, 32, large, seed + 1), second),
        Phase("again", Worlds(24, 64, 32, large, seed + 2), replace(second, seed=seed + 2)),
    )
