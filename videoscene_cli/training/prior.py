"""Makes the worlds and trains the shipped prior: `make train-prior TEXTURES=folder`. A stopped run resumes."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from stages.errors import StageError
from videoscene_cli.models.allocator import keep_freed_memory

if TYPE_CHECKING:
    from stages.prior.recipe import Worlds
    from stages.worlds import Textures


def main(
    run: Annotated[
        Path, typer.Argument(help="Folder of the run: one folder per phase, then prior.safetensors and manifest.json.")
    ],
    textures: Annotated[
        Path | None, typer.Option(help="Folder of texture images; without it all textures are procedural.")
    ] = None,
    first: Annotated[
        int, typer.Option(help="With --worlds-only: this process makes shards FIRST, FIRST + STRIDE, ...")
    ] = 0,
    stride: Annotated[int, typer.Option(help="With --worlds-only: the number of processes that make worlds.")] = 1,
    worlds_only: Annotated[bool, typer.Option("--worlds-only", help="Make the worlds and stop.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the worlds and of the training.")] = 0,
) -> None:
    """Make procedural worlds and train the small prior on them."""
    import torch

    from stages.files.documents import sha256_file
    from stages.files.publish import write_json
    from stages.prior.recipe import PHOTOS, PROCEDURAL, TEXTURE_SEED, phases
    from stages.prior.train import Trainer
    from stages.worlds.textures import load_textures

    keep_freed_memory()
    console = Console(stderr=True)
    try:
        # Make the worlds of each phase, then train on them.
        atlas = load_textures(textures, torch.Generator().manual_seed(TEXTURE_SEED), PHOTOS, PROCEDURAL)
        weights: Path | None = None
        for phase in phases(seed):
            folder = run / phase.name
            make_worlds(folder / "worlds", atlas, phase.worlds, first, stride, console)
            if not worlds_only:
                console.print(f"{phase.name}: {phase.recipe.steps} steps, log in {folder / 'log.jsonl'}")
                Trainer(folder / "worlds", folder, phase.recipe, weights).train()
                weights = folder / "prior.safetensors"
        if weights is None:
            return
        # Record how the weights were made.
        texture_facts = {"textures": TEXTURE_SEED, "photographs": PHOTOS, "procedural": PROCEDURAL}
        document = {
            "command": "train-prior",
            "phases": [asdict(phase) for phase in phases(seed)],
            "textures": texture_facts,
            "versions": {"torch": torch.__version__},
            "outputs": [{"path": weights.name, "sha256": sha256_file(weights)}],
        }
        write_json(weights.parent / "manifest.json", document)
        typer.echo(weights)
    except StageError as error:
        console.print(f"{error.what}\n  {error.why}\n  {error.hint}")
        raise typer.Exit(1) from error


def make_worlds(folder: Path, atlas: Textures, worlds: Worlds, first: int, stride: int, console: Console) -> None:
    """Make the missing shards of a phase with the numbers `first`, `first` + `stride`, ..."""
    from stages.worlds.shards import shard_path, write_shard

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(worlds.first + first, worlds.first + worlds.count, stride):
        if not shard_path(folder, number).exists():
            write_shard(folder, atlas, worlds.seed, number, worlds.scenes, worlds.sizes[number % len(worlds.sizes)])
            console.print(f"worlds {number - worlds.first + 1}/{worlds.count}")


if __name__ == "__main__":
    typer.run(main)
