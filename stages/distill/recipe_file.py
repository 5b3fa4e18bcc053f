"""The settings of a distillation run: a YAML file with one section per phase (see recipes/), checked key by key."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from stages.errors import InputError
from stages.files.documents import read_yaml
from stages.files.settings import NO_OTHER_KEYS, parse
from stages.video.timesteps import STEPS

RECIPES = Path(__file__).with_name("recipes")
Phase = Literal["monocular", "prior", "teacher", "regression", "student", "policy"]
PRIOR_PHASES: tuple[Phase, ...] = ("monocular", "prior")
STUDENT_PHASES: tuple[Phase, ...] = ("teacher", "regression", "student", "policy")
PRIORS = ("small-prior", "re10k")  # the models that PRIOR_PHASES train; the others are students


def _require(condition: bool, rule: str) -> None:
    if not condition:
        raise ValueError(rule)


def _require_timesteps(*steps: int) -> None:
    _require(all(0 <= t < STEPS for t in steps), f"timesteps must be from 0 to {STEPS - 1}")


def _require_leap_max(leap_max: int) -> None:
    _require(1 <= leap_max < STEPS, f"leap_max must be from 1 to {STEPS - 1}")


@dataclass(frozen=True)
class Recipe:
    """How a phase is optimised: AdamW with clipped gradients, and a moving average of the weights.

    steps: number of optimiser steps.  batch: number of clips per batch.  accumulate: batches per step.
    learning_rate: peak of the learning rate, after a linear warm-up.  warmup: number of steps of the warm-up.
    decay: "cosine" lowers the rate to 2 % of the peak, "constant" keeps it.  weight_decay: AdamW's weight decay.
    clip_norm: largest norm of the gradient.  ema: decay of the averaged weights.  every: steps between checkpoints.
    """

    __pydantic_config__ = NO_OTHER_KEYS
    steps: int = 0
    batch: int = 1
    accumulate: int = 1
    learning_rate: float = 2e-4
    warmup: int = 50
    decay: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    ema: float = 0.999
    every: int = 100

    def __post_init__(self) -> None:
        _require(min(self.batch, self.accumulate, self.every) >= 1, "batch, accumulate and every must be at least 1")
        _require(min(self.steps, self.warmup) >= 0, "steps and warmup must not be negative")
        _require(self.learning_rate > 0 and self.clip_norm > 0, "learning_rate and clip_norm must be above 0")
        _require(0 <= self.ema < 1, "ema must be at least 0 and below 1")


@dataclass(frozen=True)
class TeacherRecipe(Recipe):
    """The teacher's phase.

    renders: share of the steps, at the end, that start from noised renders in place of noised truths.
    leap_max: T', the largest timestep of those steps.  cap: largest weight of a timestep, see `teacher.weight`; null
    for the plain loss on v.  picture: weight of the loss on pixels.
    """

    renders: float = 0.5
    leap_max: int = 599
    cap: float | None = 5.0
    picture: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(0 <= self.renders <= 1, "renders is a share and must be from 0 to 1")
        _require_leap_max(self.leap_max)


@dataclass(frozen=True)
class RegressionRecipe(Recipe):
    """The regression phase.

    t: leap steps, of which one is sampled per clip.  latent, picture: weights of the losses on latents and on pixels.
    """

    t: tuple[int, ...] = (459,)
    latent: float = 1.0
    picture: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_timesteps(*self.t)


@dataclass(frozen=True)
class StudentRecipe(Recipe):
    """The phase of leap flow distillation.

    leap_max: T', the largest timestep.  consistency: weight of the leap flow loss.  huber: constant c of that loss.
    gap: smallest t - s.  gap_share: t - s at the start, as a share of t.  gap_halvings: how often that share halves.
    near: first and last timestep at which the prediction is also compared with the truth.
    latent, picture: weights of that comparison on latents and on pixels.
    """

    leap_max: int = 599
    consistency: float = 1.0
    huber: float = 0.001
    gap: int = 20
    gap_share: float = 1.0
    gap_halvings: int = 5
    near: tuple[int, int] = (0, 599)
    latent: float = 1.0
    picture: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_leap_max(self.leap_max)
        _require_timesteps(*self.near)
        gaps = self.gap >= 1 and self.gap_halvings >= 0 and 0 <= self.gap_share <= 1
        _require(gaps, "gap must be at least 1, gap_halvings at least 0, and gap_share from 0 to 1")
        _require(self.huber > 0, "huber must be above 0")


@dataclass(frozen=True)
class PolicyRecipe(Recipe):
    """The policy's phase.

    grid: the leap steps to choose from, at least 2.  clips: number of clips with rewards.
    held_out: share of them kept for the report.  width: hidden channels.
    entropy: weight of the entropy, for exploration.
    """

    grid: tuple[int, ...] = (39, 119, 199, 279, 359, 459, 549, 599)
    clips: int = 64
    held_out: float = 0.25
    width: int = 64
    entropy: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_timesteps(*self.grid)
        _require(len(set(self.grid)) == len(self.grid) >= 2, "grid must hold two or more timesteps, all different")
        both = 0 < self.held_out < 1 and self.clips * min(self.held_out, 1 - self.held_out) >= 1
        _require(both, "held_out must leave clips to train on and clips to measure on")


@dataclass(frozen=True)
class PairsRecipe(Recipe):
    """What both phases of the prior share. Here `batch` counts scenes of a few views.

    encoder: factor on the learning rate of the encoder, which is pretrained.
    width: number of columns that wider pictures are cropped to, or null.
    first_shards: number of shards that the first step may sample from; null for all.
    shards_per_step: how many more each further step may sample from. So training can begin before all shards are made.
    """

    encoder: float = 0.1
    width: int | None = None
    first_shards: int | None = None
    shards_per_step: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.encoder >= 0 and self.shards_per_step >= 0, "encoder and shards_per_step must not be negative")
        _require(self.width is None or (self.width > 0 and self.width % 16 == 0), "width must be a multiple of 16")
        _require(self.first_shards is None or self.first_shards >= 1, "first_shards must be at least 1")

    def shards(self, step: int, count: int) -> int:
        """How many of `count` shards step `step`, counted from 0, may sample from."""
        if self.first_shards is None:
            return count
        return min(count, self.first_shards + int(step * self.shards_per_step))


@dataclass(frozen=True)
class MonocularRecipe(PairsRecipe):
    """The phase that trains only the monocular branch, on each view of a batch as a single picture."""


@dataclass(frozen=True)
class PriorRecipe(PairsRecipe):
    """The phase that trains the prior on pairs.

    depth, planes, edges, alone (of the monocular branch), picture, gaps: weights of the losses (prior_losses.py).
    unseen: weight of pixels that the other photograph does not see, in the losses depth and planes.
    pictured: number of scenes of a batch whose Gaussians are rendered for the losses `picture` and `gaps`.
    frozen: weights whose names begin with one of these are not trained.
    """

    depth: float = 0.3
    planes: float = 0.1
    edges: float = 2.0
    alone: float = 0.3
    picture: float = 4.0
    gaps: float = 0.5
    unseen: float = 0.7
    pictured: int = 1
    frozen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        weights = (self.depth, self.planes, self.edges, self.alone, self.picture, self.gaps, self.unseen, self.pictured)
        _require(min(weights) >= 0, "weights of losses and pictured must not be negative")


@dataclass(frozen=True)
class Data:
    """The training clips of a student, or the training pairs of a prior.

    clips: folders of shards: of clips for a student (clip_shards.py), of pairs for a prior (prior_pairs.py).
    frames: largest number of frames of a clip, 4k + 1.
    size: largest (h, w) of a clip.  worlds: number of shards to make from procedural worlds.
    textures: folder of images for these worlds.  recordings: scene folders with transforms.json, folders of those, or
    RealEstate10K chunks.
    recorded: number of shards to make from recordings. For a prior, 0 stands for 32 if there are recordings.
    pairs: number of shards of pairs to make from worlds, for a prior.  scenes: number of scenes in each.
    sizes: sizes (h, w) of the pictures of pairs; each shard has one of them.
    furniture: furniture pack for the worlds of clips and of pairs (`make furniture`). Even with a pack, one shard in
    twelve shows primitive shapes; without a pack, all do. Shards that exist are kept even if the pack has changed.
    makers: number of processes that make pairs while the training runs. With 0, all pairs are made before it starts.
    """

    __pydantic_config__ = NO_OTHER_KEYS
    clips: tuple[str, ...] = ()
    frames: int = 49
    size: tuple[int, int] = (256, 256)
    worlds: int = 0
    textures: str | None = None
    recordings: tuple[str, ...] = ()
    recorded: int = 0
    pairs: int = 0
    scenes: int = 8
    sizes: tuple[tuple[int, int], ...] = ((256, 384),)
    furniture: str | None = None
    makers: int = 0

    def __post_init__(self) -> None:
        _require(self.frames % 4 == 1 and self.frames > 4, "frames must be 4k + 1, such as 17 or 49")
        _require(all(side > 0 and side % 16 == 0 for side in self.size), "the sides of size must be multiples of 16")
        sides = [side for size in self.sizes for side in size]
        multiples = bool(sides) and all(side > 0 and side % 16 == 0 for side in sides)
        _require(multiples, "sizes must be pairs of multiples of 16")
        counts = (self.worlds, self.recorded, self.pairs, self.makers)
        _require(min(counts) >= 0, "worlds, recorded, pairs and makers must not be negative")
        _require(self.scenes >= 1, "scenes must be at least 1")
        _require(not self.recorded or bool(self.recordings), "recorded shards need recordings")


@dataclass(frozen=True)
class Config:
    """All settings of a run.

    model: a student (`small`, or `cogvideox-5b` with base weights in the folder `base`), or a prior (`small-prior`, or
    `re10k`, which has MVSplat's sizes and learns only from pictures).
    network: sizes of `small`, if not the usual ones.
    start: file with the first weights of the teacher or of the prior. A prior's may lack layers (prior_start.py).
    encoder: file of the published EfficientNet-Lite2: first weights of `small-prior`'s encoder, if `start` lacks it.
    precision: type of matrix products; losses are always float32. A prior computes in bfloat16 on CUDA only.
    perceptual_frames: number of frames per clip with LPIPS in the loss on pixels.
    perceptual_weight: weight of that LPIPS.
    """

    __pydantic_config__ = NO_OTHER_KEYS
    model: Literal["small", "cogvideox-5b", "small-prior", "re10k"] = "small"
    base: str | None = None
    network: Mapping[str, Any] = field(default_factory=dict)
    start: str | None = None
    encoder: str | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    perceptual_frames: int = 0
    perceptual_weight: float = 0.15
    data: Data = Data()
    monocular: MonocularRecipe = MonocularRecipe()
    prior: PriorRecipe = PriorRecipe()
    teacher: TeacherRecipe = TeacherRecipe()
    regression: RegressionRecipe = RegressionRecipe()
    student: StudentRecipe = StudentRecipe()
    policy: PolicyRecipe = PolicyRecipe()

    def __post_init__(self) -> None:
        others = STUDENT_PHASES if self.trains_prior else PRIOR_PHASES
        wrong = [phase for phase in others if getattr(self, phase).steps]
        _require(not wrong, f"{self.model} has no phase {', '.join(wrong)}")
        _require(self.model != "re10k" or not self.monocular.steps, "re10k has no monocular branch")
        _require(self.encoder is None or self.model == "small-prior", "only small-prior has an encoder")

    @property
    def trains_prior(self) -> bool:
        """Whether the run trains a prior, and not a student."""
        return self.model in PRIORS

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases that have steps, in order."""
        return tuple(phase for phase in PRIOR_PHASES + STUDENT_PHASES if getattr(self, phase).steps)

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values, as they stand in the file. Tuples become lists."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


def find_config(name: str) -> Path:
    """The file of a shipped recipe, by its name, or of any recipe, by its path. Raises InputError if there is none."""
    shipped = RECIPES / f"{name}.yaml"
    path = shipped if shipped.is_file() else Path(name)
    if not path.is_file():
        known = ", ".join(sorted(recipe.stem for recipe in RECIPES.glob("*.yaml")))
        why = "it is neither a known name nor a file"
        raise InputError(f"no recipe {name!r}", why, f"known names: {known}; or a path")
    return path


def read_config(path: Path) -> Config:
    """Read a file of settings. Raises InputError, which names a key that is unknown, and the known ones."""
    values = read_yaml(path, "give a YAML file with one section per phase")
    return parse(Config, values if values is not None else {}, str(path))
