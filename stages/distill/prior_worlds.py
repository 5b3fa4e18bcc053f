"""The worlds of a recipe: what they are made of, pairs of photographs taken in them, and processes that make the pairs.

Shards show furnished worlds if the recipe names a furniture pack, except one shard in twelve. That one, and all shards
without a pack, show worlds of primitive shapes. A shard depends only on the recipe's data, the seed and its number.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import torch

from stages.distill.recipe_file import Data
from stages.distill.training_loop import generator
from stages.errors import RunError
from stages.worlds import Textures
from stages.worlds.furnished.assets import Assets, require_embree
from stages.worlds.furnished.pack import load_pack
from stages.worlds.furnished.shards import write_furnished_shard
from stages.worlds.shards import shard_path, write_shard
from stages.worlds.textures import surfaces

TURN, PRIMITIVE = 12, 5  # of every 12 shards, the one with number 5, counted from 0, shows primitive shapes
NICE = 10  # added to the niceness of a process of `Makers`, so that the training comes first
PATIENCE = 5.0  # seconds that such a process gets to end before it is killed


def shows_furniture(number: int) -> bool:
    """Whether shard `number` shows furnished worlds, if there is furniture."""
    return number % TURN != PRIMITIVE


@dataclass(frozen=True)
class PairWorlds:
    """Makes shards of pairs of photographs taken in worlds.

    assets: furniture and its surfaces, or None without a furniture pack.
    """

    textures: Textures
    assets: Assets | None
    sizes: tuple[tuple[int, int], ...]
    scenes: int
    seed: int

    def write(self, folder: Path, number: int) -> Path:
        """Make shard `number`, publish it and return its path."""
        size = self.sizes[int(torch.randint(len(self.sizes), (), generator=generator(self.seed, "size", number)))]
        if self.assets is None or not shows_furniture(number):
            return write_shard(folder, self.textures, self.seed, number, self.scenes, size)
        return write_furnished_shard(folder, self.assets, self.seed, number, self.scenes, size)


def load_pair_worlds(data: Data, seed: int) -> PairWorlds:
    """The worlds of a recipe's pairs. Raises InputError as `load_materials` does."""
    return PairWorlds(*load_materials(data), data.sizes, data.scenes, seed)


def load_materials(data: Data) -> tuple[Textures, Assets | None]:
    """Read textures, and furniture if the recipe names a pack.

    Raises InputError when a file cannot be used, or Embree is missing.
    """
    pack = None
    if data.furniture is not None:
        require_embree()
        pack = load_pack(Path(data.furniture))
    textures = surfaces(None if data.textures is None else Path(data.textures))
    return textures, None if pack is None else Assets(pack, textures)


class Makers:
    """Processes that make the missing shards of a folder, the lowest numbers first, until all are there.

    They run inside a `with` block, each on a core of its own if there are enough. They end with the block, or when this
    process is killed.
    """

    def __init__(self, data: Data, folder: Path, seed: int, missing: Sequence[int]) -> None:
        # A forked process would hang if torch has used its threads before, and could not use CUDA.
        processes = multiprocessing.get_context("spawn")
        cores = _cores()
        # The first core is for the training.
        cores = cores[1:] or cores
        # The index of the next missing shard. Kept here, so that its lock lives until the processes have it.
        self.next_index = processes.Value("q", 0)
        self.processes = [
            processes.Process(
                target=_make,
                args=(data, folder, seed, list(missing), self.next_index, cores[k % len(cores)]),
                daemon=True,
            )
            for k in range(min(data.makers, len(missing)))
        ]

    def __enter__(self) -> Makers:
        for process in self.processes:
            process.start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join(PATIENCE)
            if process.is_alive():
                process.kill()

    def check(self) -> None:
        """Raise RunError when one of the processes has failed: the shard that it was making will never come."""
        failed = [process.exitcode for process in self.processes if process.exitcode]
        if failed:
            why = f"a process that makes them ended with code {failed[0]}"
            raise RunError("cannot make training pairs", why, "see its message above, or set makers: 0")


def _make(
    data: Data, folder: Path, seed: int, missing: list[int], next_index: Synchronized[int], core: int | None
) -> None:
    """The work of one process: take the next missing shard and make it, until none is left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the training, which then ends this process
    torch.set_num_threads(1)
    os.nice(NICE)
    if core is not None:
        os.sched_setaffinity(0, {core})
    worlds, parent = load_pair_worlds(data, seed), multiprocessing.parent_process()
    while parent is not None and parent.is_alive():
        with next_index.get_lock():
            index, next_index.value = next_index.value, next_index.value + 1
        if index >= len(missing):
            return
        if not shard_path(folder, missing[index]).exists():
            worlds.write(folder, missing[index])


def _cores() -> list[int | None]:
    """The cores that this process may use; [None] where the system does not tell."""
    if not hasattr(os, "sched_getaffinity"):
        return [None]
    return [*sorted(os.sched_getaffinity(0))]
