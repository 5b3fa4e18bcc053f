"""Make the worlds and train the shipped prior: `make train-prior TEXTURES=folder`. Both halves resume where they stopped."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stages.errors import StageError

TEXTURE_SEED, PHOTOS, PROCEDURAL = 1000, 900, 200


def main(
    run: Annotated[Path, typer.Argument(help="Folder of the run: worlds/, checkpoint, log, prior.safetensors.")],
    textures: Annotated[Path | None, typer.Option(help="Folder of texture images; without it only procedural ones.")] = None,
    shards: Annotated[int, typer.Option(help="Shards of 64 worlds to make before training.")] = 24,
    first: Annotated[int, typer.Option(help="First shard this process makes.")] = 0,
    stride: Annotated[int, typer.Option(help="Make every STRIDE-th shard, for several processes.")] = 1,
    steps: Annotated[int | None, typer.Option(help="Training steps; 0 only makes worlds.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the worlds and of the training.")] = 0,
) -> None:
    """Make procedural worlds and train the small prior on them."""
    import torch

    from stages.files.documents import sha256_file
    from stages.files.publish import write_json
    from stages.prior.train import Recipe, Trainer
    from stages.worlds.shards import SCENES, shard_path, write_shard
    from stages.worlds.textures import load_textures

    console = Console(stderr=True)
    try:
        folder = run / "worlds"
        missing = [k for k in range(first, shards, stride) if not shard_path(folder, k).exists()]
        if missing:
            atlas = load_textures(textures, torch.Generator().manual_seed(TEXTURE_SEED), PHOTOS, PROCEDURAL)
            folder.mkdir(parents=True, exist_ok=True)
            for k in missing:
                write_shard(folder, atlas, seed, k)
                console.print(f"worlds {k + 1}/{shards}")
        if steps == 0:
            return
        recipe = replace(Recipe(), seed=seed, steps=steps or Recipe.steps)
        Trainer(folder, run, recipe).train()
        weights = run / "prior.safetensors"
        worlds = {"shards": shards, "scenes a shard": SCENES, "textures": TEXTURE_SEED, "photographs": PHOTOS, "procedural": PROCEDURAL}
        output = {"path": weights.name, "sha256": sha256_file(weights)}
        write_json(
            run / "manifest.json",
            {
                "command": "train-prior",
                "worlds": worlds,
                "recipe": asdict(recipe),
                "versions": {"torch": torch.__version__},
                "outputs": [output],
            },
        )
        typer.echo(weights)
    except StageError as error:
        console.print(f"{error.what}\n  {error.why}\n  {error.hint}")
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(main)
