"""Training clips and their files: render, coverage, truth, and the two photographs as taken and as warped.

A shard is a safetensors file of S clips of one size, as uint8 tensors:
  render, truth [S, F, 3, h, w]    coverage [S, F, h, w]    photographs [S, 2, 3, h, w]
  warped [S, F, 2, 3, h, w]        weight [S, F, 2, h, w]
They are made by clips_of_worlds.py and clips_of_recordings.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Generator, Tensor

from stages.errors import InputError
from stages.files.weight_tensors import write_safetensors

HINT = "make the clips again"
ALWAYS_READ = ("render", "coverage", "truth", "photographs")  # what every model reads of a clip
EASY_ERROR = 0.001  # mean squared error of a render (30 dB) below which a clip has little to teach
TRIES = 4  # number of clips sampled at most before an easy one is accepted


@dataclass(frozen=True, eq=False)
class Example:
    """One training clip, or a batch of them with one more leading axis.

    All values are in [0, 1], or as stored, uint8 from 0 to 255.
    render, truth: [F, 3, h, w], F = 4k + 1.  coverage: [F, h, w].  photographs: [2, 3, h, w].
    warped: [F, 2, 3, h, w], weight: [F, 2, h, w], the photographs as the clip's cameras see them, see `warp.Warped`;
    None for models that do not read them.

    In a clip of a world, the photographs have the noise of a real camera, and the truth has none. The clip is the path
    from one photograph to the other, or a part of it. In a clip of a recording, the photographs are the first and the
    last frame of the truth.
    """

    render: Tensor
    coverage: Tensor
    truth: Tensor
    photographs: Tensor
    warped: Tensor | None
    weight: Tensor | None

    def __post_init__(self) -> None:
        *b, f, _, h, w = self.truth.shape
        own = ((f, 3, h, w), (f, h, w), (f, 3, h, w), (2, 3, h, w), (f, 2, 3, h, w), (f, 2, h, w))
        expected = dict(zip([field.name for field in fields(self)], ([*b, *shape] for shape in own), strict=True))
        shapes = {name: list(tensor.shape) for name, tensor in self.tensors().items()}
        if any(shapes[name] != expected[name] for name in shapes):
            raise InputError("bad training clip", f"its shapes are {list(shapes.values())}", HINT)

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name, without those that are None."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def map(self, function: Callable[[str, Tensor], Tensor]) -> Example:
        """The clip with each tensor replaced by function(name, tensor)."""
        return replace(self, **{name: function(name, tensor) for name, tensor in self.tensors().items()})


def write_clips(path: Path, clips: Sequence[Example]) -> None:
    """Publish a shard. clips: at least one, all of one size and number of frames."""
    write_safetensors(path, stack(clips).map(lambda _, x: _bytes(x)).tensors())


def stack(clips: Sequence[Example]) -> Example:
    """A batch of clips of one size."""
    return clips[0].map(lambda name, _: torch.stack([clip.tensors()[name] for clip in clips]))


def shard_name(shard: Path, run: Path) -> str:
    """The name under which a run records a shard: its path in the run's folder, otherwise its absolute path.

    So the shard is found after `cd`, and after the run's folder was moved.
    """
    shard, run = shard.resolve(), run.resolve()
    return str(shard.relative_to(run) if shard.is_relative_to(run) else shard)


def shards_of_run(shards: Sequence[Path], run: Path, recorded: Sequence[str] | None) -> dict[str, Path]:
    """The shards of a phase by name: those that its first checkpoint recorded, or all of them before that.

    So new shards do not change a run that has begun. Raises InputError when a recorded shard is missing.
    """
    by_name = {shard_name(path, run): path for path in shards}
    missing = next((name for name in recorded or () if name not in by_name), None)
    if missing:
        why = f"the run was started with {missing}, which is gone"
        raise InputError("cannot go on", why, "put it back, or start over with --force")
    return by_name if recorded is None else {name: by_name[name] for name in recorded}


def length(path: Path) -> int:
    """The number of clips in a shard."""
    return _shape(path)[0]


def read(path: Path, index: int, warped: bool = True) -> Example:
    """Read one clip of a shard as it is stored. Raises InputError when the file is not a shard.

    warped: whether to read the warped photographs, which are half of a shard.
    """
    _shape(path)
    with safe_open(path, "pt") as shard:
        render, coverage, truth, photographs = (shard.get_slice(name)[index] for name in ALWAYS_READ)
        colours, weight = (shard.get_slice(name)[index] if warped else None for name in ("warped", "weight"))
        return Example(render, coverage, truth, photographs, colours, weight)


def sample_clip(
    shards: Sequence[Path],
    generator: Generator,
    frames: int,
    size: tuple[int, int],
    warped: bool = True,
    recolour: bool = True,
) -> Example:
    """A random clip of a random shard, cropped to at most `size` (h, w) and `frames`, and augmented (see `augment`).

    Its values are as stored.  warped: see `read`.  recolour: see `augment`.
    A shortened clip keeps its first and last frame, because these may be at the photographs. If the render is already
    right, the clip has little to teach, and another one is sampled. The last of TRIES clips is taken in any case.
    """
    for _ in range(TRIES):
        path = shards[int(torch.randint(len(shards), (), generator=generator))]
        example = read(path, int(torch.randint(length(path), (), generator=generator)), warped)
        example = augment(subsample_frames(example, frames), generator, size, recolour)
        if float((example.render.float() - example.truth.float()).square().mean()) > EASY_ERROR * 255**2:
            break
    return example


def subsample_frames(example: Example, frames: int) -> Example:
    """The clip with at most `frames` (4k + 1) evenly spaced frames; the first and the last stay."""
    count = len(example.truth)
    if count <= frames:
        return example
    kept = torch.linspace(0, count - 1, frames).round().long()
    return example.map(lambda name, x: x if name == "photographs" else x[kept])


def augment(example: Example, generator: Generator, size: tuple[int, int], recolour: bool = True) -> Example:
    """A random crop of at most `size` (h, w) with sides that are multiples of 16.

    After that, the clip is mirrored with a chance of one half, and reversed in time with the same chance. With
    `recolour`, its colour channels get a random order.
    """
    sides = example.truth.shape[-2:]
    h, w = (min(side, most) // 16 * 16 for side, most in zip(sides, size, strict=True))
    rooms = (side - cut for side, cut in zip(sides, (h, w), strict=True))
    top, left = (int(torch.randint(room + 1, (), generator=generator)) for room in rooms)
    mirror, backwards = (torch.rand(2, generator=generator) < 0.5).tolist()
    colours = torch.randperm(3, generator=generator) if recolour else torch.arange(3)

    def augmented(name: str, x: Tensor) -> Tensor:
        x = x[..., top : top + h, left : left + w]
        x = x.flip(-1) if mirror else x
        if backwards:  # The two photographs change places as well.
            x = x.flip((0, 1)) if name in ("warped", "weight") else x.flip(0)
        return x if name in ("coverage", "weight") else x[..., colours, :, :]

    return example.map(augmented)


def _bytes(x: Tensor) -> Tensor:
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)


def _shape(path: Path) -> list[int]:
    """The shape of the truth in a shard."""
    try:
        with safe_open(path, "pt") as shard:
            return shard.get_slice("truth").get_shape()
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot read the training clips {path}", str(error).splitlines()[0], HINT) from error
