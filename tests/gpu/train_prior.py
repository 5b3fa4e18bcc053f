"""Trains the prior on a GPU in pieces of a few minutes: python -m tests.gpu.train_prior SECONDS OUT, beside .gpu/prior.

.gpu/prior is what tests/gpu/pack_prior.py made; where only this folder was sent, unpack code.tar.xz and run there.
Processes on the other cores make worlds all the while. First the time of a step is measured. Then the monocular branch
is trained for a part of SECONDS, and the whole prior for the rest, in as many steps as fit. When memory runs out, or
the renderer fails, the prior is trained again with smaller batches or without pictures, for the time that is left.

OUT gets averaged weights as float16, PHASE-0.safetensors and so on, at most 16 MiB per file, which are written anew
several times in a phase, and manifest.json with recipe, steps, seconds and machine. To go on in another piece:
--start OUT/prior-0.safetensors --start OUT/prior-1.safetensors --monocular 0 --seed 1. --dry: tiny, on the CPU.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import shutil
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.gpu.weight_parts import read_parts, write_parts

if TYPE_CHECKING:
    from torch import Tensor

    from stages.distill.prior_phases import PriorContext
    from stages.distill.prior_worlds import Makers
    from stages.distill.recipe_file import Config, MonocularRecipe, Phase, PriorRecipe

PACKED = Path(__file__).resolve().parents[2] / ".gpu" / "prior"
SIZES = ((256, 448),) * 4 + ((256, 384),) * 3 + ((256, 256), (384, 256), (256, 336))
# What is tried in this order, when memory runs out or the renderer fails: the batch of the monocular phase, and the
# batch of the prior with its number of scenes that are rendered.
MONOCULAR_BATCHES = (24, 12, 6)
LADDER = ((16, 4), (8, 4), (16, 0), (4, 0))
WARM, MEASURED = 4, 12  # steps before the measurement, and in it
MARGIN = 0.93  # share of the time that the steps are planned for
EXPORTS = 4  # number of times that a phase's weights are exported
LEAST_SHARDS = 4  # made before the training begins
KEPT_BACK = 0.8  # share of the shards made per step that the steps are allowed to use, so that they do not wait


class TimeIsUp(Exception):
    """The piece has no time left."""


@dataclass
class Piece:
    """One piece of training.

    context: network and data.  makers: processes that make the shards.  out: where results go.  ends: when it must be
    done, on the clock of `time.monotonic`.  most: steps of a phase at most.  manifest: what is known about it so far.
    """

    context: PriorContext
    makers: Makers
    out: Path
    ends: float
    most: int
    manifest: dict[str, Any]

    def say(self, *words: object) -> None:
        print(f"[{self.ends - time.monotonic():6.1f} s left]", *words, flush=True)

    def ready(self) -> int:
        """How many of the first shards are there."""
        return next((k for k, path in enumerate(self.context.shards) if not path.exists()), len(self.context.shards))

    def train(self, phase: Phase, recipe: MonocularRecipe | PriorRecipe, seconds: float) -> None:
        """Measure a step, then train a phase for `seconds` in all, and export its weights."""
        from stages.distill.prior_phases import train_phase

        begin = time.monotonic()
        while self.ready() < min(LEAST_SHARDS, len(self.context.shards)):
            self.makers.check()
            time.sleep(0.2)
        first, since = self.ready(), time.monotonic()
        with tempfile.TemporaryDirectory() as name:
            step = self._measure(phase, recipe, Path(name))
        rate = (self.ready() - first) / (time.monotonic() - since)
        steps = min(self.most, max(1, int((seconds - (time.monotonic() - begin)) * MARGIN / step)))
        # From the shards that are there, and those that will be.
        recipe = replace(
            recipe,
            steps=steps,
            warmup=min(recipe.warmup, steps // 4),
            every=max(1, steps // EXPORTS),
            first_shards=max(1, self.ready() - 2),
            shards_per_step=round(KEPT_BACK * rate * step, 4),
        )
        self.say(phase, f"step {step:.3f} s, {steps} steps, {self.ready()} shards, {rate:.2f} per second")
        self.context = replace(self.context, config=replace(self.context.config, **{phase: recipe}))
        told: dict[str, Any] = {"recipe": asdict(recipe), "measured_step": step, "shards_per_second": rate}
        self.manifest[phase], trained = told, time.monotonic()

        def progress(done: int, total: int) -> None:
            told.update(steps_done=done, seconds=round(time.monotonic() - trained, 2))
            if done % recipe.every == 1 and done > 1:
                self.export(phase)
            if time.monotonic() > self.ends:
                raise TimeIsUp

        try:
            train_phase(self.context, phase, progress)
        finally:
            told["shards"] = self.ready()
            self.export(phase)

    def _measure(self, phase: Phase, recipe: MonocularRecipe | PriorRecipe, folder: Path) -> float:
        """Seconds of a step, from a trial whose weights are thrown away."""
        from stages.distill.prior_phases import train_phase

        trial = replace(recipe, steps=WARM + MEASURED, every=10**6, first_shards=max(1, self.ready() - 1))
        config = replace(self.context.config, **{phase: trial})
        context, times = replace(self.context, config=config, run=folder), list[float]()
        # The trial has no phase before it in its own folder.
        if phase == "prior":
            context = replace(context, config=replace(config, monocular=replace(config.monocular, steps=0)))
        train_phase(context, phase, lambda done, total: times.append(time.monotonic()))
        return (times[-1] - times[WARM]) / MEASURED

    def export(self, phase: Phase) -> None:
        """Write the averaged weights of the newest checkpoint, and the manifest, if there is a checkpoint."""
        from safetensors.torch import load_file

        from stages.distill.prior_phases import first_weights
        from stages.distill.training_loop import newest

        checkpoint = newest(self.context.run, phase)
        if checkpoint is None:
            return
        state = load_file(checkpoint / "state.safetensors")
        own = {key[8:]: value for key, value in state.items() if key.startswith("average.")}
        weights = {
            name: value.detach().half().cpu() for name, value in (first_weights(self.context, phase) | own).items()
        }
        files = write_parts(self.out, phase, weights)
        self.manifest[phase] |= {"files": files, "exported_step": int(checkpoint.name[5:])}
        (self.out / "manifest.json").write_text(json.dumps(self.manifest, indent=1) + "\n")


def recipe_of(material: Path, makers: int) -> Config:
    """The recipe of a piece, whose numbers of steps are still to be measured."""
    from stages.distill.recipe_file import Config, Data, MonocularRecipe, PriorRecipe

    data = Data(
        pairs=20_000,
        sizes=SIZES,
        textures=str(material / "textures"),
        furniture=str(material / "furniture.npz"),
        makers=makers,
    )
    monocular = MonocularRecipe(steps=1, batch=24, learning_rate=6e-4, warmup=50, ema=0.99)
    prior = PriorRecipe(steps=1, batch=LADDER[0][0], pictured=LADDER[0][1], learning_rate=5e-4, warmup=60, ema=0.996)
    return Config(model="small-prior", precision="bfloat16", data=data, monocular=monocular, prior=prior)


def train(piece: Piece, seconds: float, share: float) -> None:
    """Train the monocular branch for `share` of the seconds, and the prior for the rest."""
    config = piece.context.config
    if share:
        recipes = [replace(config.monocular, batch=batch) for batch in MONOCULAR_BATCHES]
        _first_that_works(piece, "monocular", recipes, lambda: share * seconds)
    else:
        piece.context = replace(piece.context, config=replace(config, monocular=replace(config.monocular, steps=0)))
    tried = [replace(config.prior, batch=batch, pictured=pictured) for batch, pictured in LADDER]
    _first_that_works(piece, "prior", tried, lambda: piece.ends - time.monotonic())


def _first_that_works(
    piece: Piece, phase: Phase, recipes: Sequence[MonocularRecipe | PriorRecipe], seconds: Callable[[], float]
) -> None:
    """Train a phase with the first of some recipes that neither runs out of memory nor fails otherwise."""
    import torch

    from stages.files.leftovers import remove

    for recipe in recipes:
        try:
            return piece.train(phase, recipe, seconds())
        except TimeIsUp:
            return piece.say("stopped before the last step")
        except Exception:
            if recipe is recipes[-1]:
                raise
            traceback.print_exc(limit=-3)
            piece.say(f"{phase} failed with a batch of {recipe.batch}")
        # Outside the handler, where the error no longer keeps the memory of the step that failed.
        remove(piece.context.run / "checkpoints" / phase)
        piece.context.network.zero_grad(set_to_none=True)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def run(
    seconds: float,
    out: Path,
    material: Path,
    start: list[Path],
    share: float,
    seed: int,
    config: Config,
    device: str,
    most: int = 10**6,
) -> dict[str, Any]:
    """Train one piece. most: steps of a phase at most. Returns its manifest."""
    import torch

    from stages.distill.prior_phases import PriorContext
    from stages.distill.prior_start import first_network, widen
    from stages.distill.prior_worlds import Makers
    from stages.distill.workers import Workers
    from stages.worlds.shards import shard_path

    ends = time.monotonic() + seconds
    out.mkdir(parents=True, exist_ok=True)
    worlds = material / f"worlds-{seed}"
    for other in material.glob("worlds-*"):  # of earlier pieces; those of one fill half a disk
        if other != worlds:
            shutil.rmtree(other)
    shards = tuple(shard_path(worlds, number) for number in range(config.data.pairs))
    missing = [number for number, path in enumerate(shards) if not path.exists()]
    # The processes start before CUDA is touched.
    with Makers(config.data, worlds, seed, missing) as makers, tempfile.TemporaryDirectory() as name:
        network, _ = first_network(config, seed)
        if start:
            names = ", ".join(map(str, start))
            network.load_state_dict(widen(read_parts(start), network.state_dict(), names))
        network = network.to(device)
        weights = {key: value.detach().clone() for key, value in network.named_parameters()}
        told = [str(path) for path in start]
        card = torch.cuda.get_device_name() if device == "cuda" else platform.processor()
        manifest = {"start": told, "seed": seed, "seconds": seconds, "device": card, "torch": torch.__version__}
        context = PriorContext(
            *(
                config,
                network,
                weights,
                Path(name),
                shards,
                seed,
                " ".join(told),
                None,
                torch.device(device),
                Workers(),
            ),
            makers.check,
        )
        piece = Piece(context, makers, out, ends, most, manifest)
        train(piece, seconds, share)
        if device == "cuda":
            piece.say(f"at most {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
    return manifest


def unpack(packed: Path) -> Path:
    """Unpack what was sent into a folder beside it, once, and let Python import from there. Returns the folder."""
    folder = packed / "unpacked"
    for name in ("textures", "site"):
        archive = packed / f"{name}.tar.xz"
        if archive.is_file() and not (folder / name).is_dir():
            with tarfile.open(archive) as tar:
                tar.extractall(folder / name, filter="data")
    if (packed / "furniture.npz").is_file() and not (folder / "furniture.npz").exists():
        (folder / "furniture.npz").symlink_to(packed / "furniture.npz")
    site = str(folder / "site")
    if site not in sys.path:
        sys.path.append(site)  # what the machine has itself comes first
    return folder


def dry(out: Path) -> dict[str, Any]:
    """Everything at tiny size on the CPU, with pairs of noise, to find mistakes in this file. Returns the manifest.

    The first recipe of the prior fails, as if memory ran out.
    """
    from unittest import mock

    from stages.distill.prior_phases import PhaseLosses
    from tests.distill.tiny_prior import TINY, random_shards

    forward = PhaseLosses.forward

    def small_batches_only(self: PhaseLosses, batch: Any, recipe: Any) -> dict[str, Tensor]:
        if len(batch.images) > 4:
            raise MemoryError("pretended")
        return forward(self, batch, recipe)

    tiny = {"MONOCULAR_BATCHES": (8, 2), "LADDER": ((6, 1), (1, 1)), "WARM": 1, "MEASURED": 1}
    with (
        tempfile.TemporaryDirectory() as name,
        mock.patch("stages.distill.prior_start.SMALL", TINY),
        mock.patch.object(PhaseLosses, "forward", small_batches_only),
        mock.patch.dict(globals(), tiny),
    ):
        random_shards(Path(name) / "worlds-0", 6)
        config = recipe_of(Path(name), 1)
        return run(600, out, Path(name), [], 0.3, 0, replace(config, data=replace(config.data, pairs=6)), "cpu", most=3)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", type=float, help="of this piece, all in all")
    parser.add_argument("out", type=Path)
    parser.add_argument("--packed", type=Path, default=PACKED)
    parser.add_argument("--start", type=Path, action="append", help="weights in place of those that were packed")
    parser.add_argument("--monocular", type=float, default=0.13, help="share of the time for the monocular branch")
    parser.add_argument("--seed", type=int, default=0, help="of worlds and training; another one for each piece")
    parser.add_argument("--makers", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    parser.add_argument("--dry", action="store_true")
    asked = parser.parse_args()
    if asked.dry:
        print(json.dumps(dry(asked.out)))
        return 0
    begin, material = time.monotonic(), unpack(asked.packed)
    import torch

    if not torch.cuda.is_available():
        print("this needs a CUDA device, and torch finds none here; nothing was trained", file=sys.stderr)
        return 4
    start = asked.start or [asked.packed / "start.safetensors"]
    left = asked.seconds - (time.monotonic() - begin)
    config = recipe_of(material, asked.makers)
    run(left, asked.out, material, start, asked.monocular, asked.seed, config, "cuda")
    return 0


if __name__ == "__main__":
    sys.exit(main())
