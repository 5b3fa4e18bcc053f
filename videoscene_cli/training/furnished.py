"""Furnished worlds: `make furniture`, `make furnished-worlds`, `make worlds-sheet`; needs the extra `worlds`."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from stages.errors import StageError
from videoscene_cli.models.allocator import keep_freed_memory

if TYPE_CHECKING:
    from stages.worlds.furnished import Assets

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
console = Console(stderr=True)
Pack = Annotated[Path, typer.Argument(help="The furniture pack, an .npz file.")]
Tiles = Annotated[Path | None, typer.Option(help="Folder of texture images; without it textures are procedural.")]


@app.command()
def pack(
    folder: Annotated[
        Path, typer.Argument(help="Folder of the .sh3f catalogues of Debian's package sweethome3d-furniture.")
    ],
    out: Annotated[Path, typer.Argument(help="The pack to write, an .npz file.")],
    triangles: Annotated[int, typer.Option(help="About the largest number of triangles per model.")] = 2500,
    side: Annotated[int, typer.Option(help="Side of the models' pictures, pixels, a power of two.")] = 128,
    most: Annotated[int, typer.Option(help="Largest number of models, spread over their roles.")] = 1000,
) -> None:
    """Make a furniture pack."""
    from stages.worlds.furnished.make_pack import make_pack

    count = make_pack(folder, out, triangles, side, most, console.print)
    console.print(f"{count} models, {out.stat().st_size / 1e6:.1f} MB")
    typer.echo(out)


@app.command()
def shards(
    file: Pack,
    out: Annotated[Path, typer.Argument(help="Folder for the shards.")],
    textures: Tiles = None,
    count: Annotated[int, typer.Option(help="Number of shards; those that exist stay.")] = 24,
    scenes: Annotated[int, typer.Option(help="Scenes per shard.")] = 32,
    height: Annotated[int, typer.Option(help="Height of the pictures, pixels.")] = 256,
    width: Annotated[int, typer.Option(help="Width of the pictures, pixels.")] = 384,
    seed: Annotated[int, typer.Option(help="Seed of the worlds.")] = 0,
    first: Annotated[int, typer.Option(help="Number of the first shard that this process makes.")] = 0,
    stride: Annotated[int, typer.Option(help="Distance between its shards: the number of processes.")] = 1,
) -> None:
    """Photograph furnished worlds into shards that training reads."""
    from stages.worlds.furnished.shards import write_furnished_shard
    from stages.worlds.shards import shard_path

    assets = load_assets(file, textures)
    out.mkdir(parents=True, exist_ok=True)
    for number in range(first, count, stride):
        if not shard_path(out, number).exists():
            write_furnished_shard(out, assets, seed, number, scenes, (height, width))
            console.print(f"furnished worlds {number + 1}/{count}")


@app.command()
def sheet(
    file: Pack,
    out: Annotated[Path, typer.Argument(help="The picture to write.")],
    textures: Tiles = None,
    count: Annotated[int, typer.Option(help="How many worlds.")] = 32,
    columns: Annotated[int, typer.Option(help="Worlds side by side.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the first world; each further world has the next one.")] = 0,
) -> None:
    """Draw a photograph of each world, beside its inverse depth (near is bright), and print the speed."""
    import time

    import torch
    from PIL import Image

    from stages.worlds.furnished import draw_furnished_scene

    torch.set_num_threads(1)
    assets, cells, seconds = load_assets(file, textures), [], 0.0
    for k in range(count):
        start = time.process_time()
        views = draw_furnished_scene(assets, seed + k, (256, 384), [])
        seconds += time.process_time() - start
        assert views.depth is not None
        near = 1 / views.depth[0]
        scaled = ((near - near.min()) / (near.quantile(0.98) - near.min()).clamp_min(1e-6)).clamp(0, 1)
        cells.append(torch.cat([views.images[0], scaled.expand(3, -1, -1)], -1))
    console.print(f"{2 * count / seconds:.1f} pictures with depth per second of processor time")
    cells += [torch.zeros_like(cells[0])] * (-len(cells) % columns)
    rows = [torch.cat(cells[k : k + columns], -1) for k in range(0, len(cells), columns)]
    Image.fromarray((torch.cat(rows, 1) * 255).round().byte().permute(1, 2, 0).numpy()).save(out)
    typer.echo(out)


def load_assets(file: Path, textures: Path | None) -> Assets:
    """A pack and the same textures as for the prior's other worlds."""
    from stages.worlds.furnished import Assets, load_pack
    from stages.worlds.textures import surfaces

    return Assets(load_pack(file), surfaces(textures))


def main() -> None:
    """Run, and say in three lines what went wrong."""
    keep_freed_memory()
    try:
        app()
    except StageError as error:
        console.print(f"{error.what}\n  {error.why}\n  {error.hint}")
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
