"""A sheet of photographs with the prior's depth maps, for a folder of pairs: make depth-sheet PAIRS=folder.

A pair is two pictures NAME_0 and NAME_1, or of any two numbers. Its cameras are estimated as `videoscene prior` does.
Where they cannot be found, the sheet has the photographs alone, and the program names the pair. With --weights given
twice, the depth maps of both stand side by side, on one scale.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from stages.errors import InputError, StageError
from stages.evaluate.kept_frames import colours, compose
from stages.files.images import read_image, write_png
from stages.prior.load import load_prior
from stages.prior.network import MVSplat
from stages.prior.predict import predict
from stages.prior.prepare import prepare

SHIPPED = Path("stages/weights/small/prior.safetensors")
HEIGHT = 256  # px of a picture
PICTURES = (".jpg", ".jpeg", ".png", ".webp")

Row = tuple[str, list[Tensor]]


def find_pairs(folder: Path) -> dict[str, tuple[Path, Path]]:
    """The pairs of a folder by name, in order.

    Raises InputError when there are none, or when a name has not exactly two pictures.
    """
    groups: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*_[0-9]*")):
        if path.suffix.lower() in PICTURES:
            groups.setdefault(path.stem.rpartition("_")[0], []).append(path)
    odd = [name for name, paths in groups.items() if len(paths) != 2]
    if odd or not groups:
        why = f"not two pictures of {', '.join(odd)}" if odd else "it has no pictures NAME_0 and NAME_1"
        raise InputError(f"cannot find pairs in {folder}", why, "give a folder of pictures NAME_0 and NAME_1")
    return {name: (paths[0], paths[1]) for name, paths in groups.items()}


def depth_row(name: str, images: Tensor, depths: Sequence[Tensor]) -> Row:
    """Two photographs [2, 3, h, w], then the depth maps [2, h, w] of each network, on one scale of inverse depth."""
    return name, [*images, *colours([depth for pair in depths for depth in pair])]


def pair_row(name: str, paths: tuple[Path, Path], networks: Sequence[MVSplat]) -> Row:
    """The row of a pair; without depth maps where its cameras cannot be found."""
    try:
        prepared = prepare(paths)
    except StageError as error:
        print(f"{name}: no cameras: {error.why}", flush=True)
        return f"{name}: no cameras ({error.why})", [read_image(path) for path in paths]
    depths = [predict(prepared.views, prepared.near_far, network).depth for network in networks]
    print(f"{name}: {', '.join(f'{key} {value}' for key, value in prepared.facts.items())}", flush=True)
    return depth_row(name, prepared.views.images, depths)


def main() -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path, help="folder of pictures NAME_0 and NAME_1")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the sheet, a PNG file")
    parser.add_argument("--weights", type=Path, action="append", help="twice to compare; the shipped ones if not given")
    options = parser.parse_args()
    weights = options.weights or [SHIPPED]
    networks = [load_prior(path, torch.device("cpu")) for path in weights]
    rows = [pair_row(name, paths, networks) for name, paths in find_pairs(options.pairs).items()]
    title = f"photographs; inverse depth, near is red, of {', then '.join(str(path) for path in weights)}"
    rows[0] = (f"{title} | {rows[0][0]}", rows[0][1])
    write_png(options.output, compose(rows, HEIGHT))
    print(options.output)


if __name__ == "__main__":
    main()
