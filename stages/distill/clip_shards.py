"""Training clips: a render, its coverage, the truth, the two photographs, plain and warped; and shards of them on disk.

A shard is a safetensors file of uint8 tensors, all clips of one size:
  render, truth [S, F, 3, h, w]    coverage [S, F, h, w]    photographs [S, 2, 3, h, w]
  warped [S, F, 2, 3, h, w]        weight [S, F, 2, h, w]
Where clips come from: stages/distill/clips_of_worlds.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Generator, Tensor

from stages.errors import InputError
from stages.files.publish import publish

HINT = "make the clips again"
RIGHT = 0.001  # mean squared error of a render that is right, 30 dB
TRIES = 4


@dataclass(frozen=True)
class Example:
    """render, truth: [F, 3, h, w], F = 4k + 1.  coverage: [F, h, w].  photographs: [2, 3, h, w].  All in [0, 1]. Or many of them, with a
    dimension more in front.
    warped: [F, 2, 3, h, w], weight: [F, 2, h, w], the photographs from the cameras of the clip, see `stages.video.warp.Warped`.

    The photographs are as cameras take them, the truth is free of noise; the clip is the way from one to the other, or a part of it.
    """

    render: Tensor
    coverage: Tensor
    truth: Tensor
    photographs: Tensor
    warped: Tensor
    weight: Tensor

    def __post_init__(self) -> None:
        *b, f, _, h, w = self.truth.shape
        shapes = [list(getattr(self, name).shape) for name in ("render", "coverage", "photographs", "warped", "weight")]
        if shapes != [[*b, *own] for own in ((f, 3, h, w), (f, h, w), (2, 3, h, w), (f, 2, 3, h, w), (f, 2, h, w))]:
            raise InputError("bad training clip", f"its shapes are {shapes}", HINT)


def write_clips(path: Path, clips: Sequence[Example]) -> None:
    """Publish a shard. clips: at least one, all of one size and length."""
    from safetensors.torch import save_file

    tensors = {field.name: torch.stack([_bytes(getattr(clip, field.name)) for clip in clips]).contiguous() for field in fields(Example)}
    with publish(path) as partial:
        save_file(tensors, partial)


def length(path: Path) -> int:
    """Clips in a shard."""
    return _shape(path)[0]


def read(path: Path, index: int) -> Example:
    """One clip of a shard. Raises InputError when the file is no shard."""
    _shape(path)
    with safe_open(path, "pt") as shard:
        return Example(*(shard.get_slice(field.name)[index].float() / 255 for field in fields(Example)))


def draw(shards: Sequence[Path], generator: Generator, frames: int, size: tuple[int, int]) -> Example:
    """A random clip of a random shard, cut to `size` (h, w) or less and to `frames` or less, mirrored, reversed and recoloured at random.

    A shortened clip keeps both ends, so that it still begins and ends at a photograph. Cut sides are multiples of 16. Where the render is
    right already, another one is drawn, a few times: little is to be learnt from it.
    """
    for _ in range(TRIES):
        path = shards[int(torch.randint(len(shards), (), generator=generator))]
        example = read(path, int(torch.randint(length(path), (), generator=generator)))
        example = vary(thin(example, frames), generator, size)
        if float((example.render - example.truth).square().mean()) > RIGHT:
            break
    return example


def thin(example: Example, frames: int) -> Example:
    """The clip with at most `frames` (4k + 1) frames, evenly chosen, first and last kept."""
    count = len(example.truth)
    if count <= frames:
        return example
    kept = torch.linspace(0, count - 1, frames).round().long()
    own = {field.name: getattr(example, field.name)[kept] for field in fields(Example) if field.name != "photographs"}
    return replace(example, **own)


def vary(example: Example, generator: Generator, size: tuple[int, int]) -> Example:
    """A random cut of at most `size` (h, w), multiples of 16; then mirrored, reversed in time and its colours swapped, each at random."""
    sides = example.truth.shape[-2:]
    h, w = (min(side, most) // 16 * 16 for side, most in zip(sides, size, strict=True))
    top, left = (int(torch.randint(side - cut + 1, (), generator=generator)) for side, cut in zip(sides, (h, w), strict=True))
    mirror, backwards = (torch.rand(2, generator=generator) < 0.5).tolist()
    colours = torch.randperm(3, generator=generator)

    def varied(name: str) -> Tensor:
        x = getattr(example, name)[..., top : top + h, left : left + w]
        x = x.flip(-1) if mirror else x
        if backwards:  # the photographs change places too
            x = x.flip((0, 1)) if name in ("warped", "weight") else x.flip(0)
        return x if name in ("coverage", "weight") else x[..., colours, :, :]

    return Example(**{field.name: varied(field.name) for field in fields(Example)})


def _bytes(x: Tensor) -> Tensor:
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)


def _shape(path: Path) -> list[int]:
    """Shape of the truth in a shard."""
    try:
        with safe_open(path, "pt") as shard:
            return shard.get_slice("truth").get_shape()
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot read the training clips {path}", str(error).splitlines()[0], HINT) from error
