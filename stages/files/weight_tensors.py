"""Tensors out of files of weights that nobody vouches for: nothing is executed, and what a network does not know is named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stages.errors import WeightsError
from stages.files.documents import MAX_JSON_BYTES

AGAIN = "download it again"


@dataclass(frozen=True)
class KeyReport:
    """How the keys of a file compare with a network's: matched, missing in the file, unexpected in it, of another shape or no floats."""

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether the file is of this network, whole."""
        return not (self.missing or self.unexpected or self.reshaped)

    def __str__(self) -> str:
        counts = f"{len(self.matched)} keys match, {len(self.missing)} missing, {len(self.unexpected)} unexpected"
        return f"{counts}, {len(self.reshaped)} of another shape"


def compare_keys(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> KeyReport:
    """Compare `tensors` with a network's state dict `own`, which may be on the meta device."""

    def fits(key: str) -> bool:
        return own[key].shape == tensors[key].shape and tensors[key].is_floating_point()

    shared = [key for key in own if key in tensors]
    return KeyReport(
        matched=tuple(key for key in shared if fits(key)),
        missing=tuple(key for key in own if key not in tensors),
        unexpected=tuple(key for key in tensors if key not in own),
        reshaped=tuple(key for key in shared if not fits(key)),
    )


def first_difference(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], report: KeyReport) -> str:
    """The most telling key that differs, in words: of another shape, then unexpected, then missing. `report` must hold one."""
    if report.reshaped:
        key = report.reshaped[0]
        have, want = tensors[key], own[key]
        return f"{key} is {shape_in_words(have)}, not {shape_in_words(want)}"
    return f"{report.unexpected[0]} is unexpected" if report.unexpected else f"{report.missing[0]} is missing"


def require_keys(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], what: str, hint: str) -> None:
    """Raise WeightsError, which names the first key that differs, unless `tensors` are those of a network's state dict `own`."""
    report = compare_keys(own, tensors)
    if not report.exact:
        raise WeightsError(what, f"{first_difference(own, tensors, report)}; {report}", hint)


def shape_in_words(tensor: Tensor) -> str:
    """The shape, and what it holds unless that is floats."""
    shape = str(tuple(tensor.shape))
    return shape if tensor.is_floating_point() else f"{shape} of {str(tensor.dtype).removeprefix('torch.')}"


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a .safetensors file, mapped from the disk: a tensor that is never used is never read.

    Raises WeightsError when the file is missing, cut off, or no safetensors file.
    """
    what = f"cannot read the weights {path}"
    try:
        with safe_open(path, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except OSError as error:
        raise WeightsError(what, error.strerror or str(error), "check the path") from error
    except SafetensorError as error:
        raise WeightsError(what, f"it is damaged or no safetensors file: {str(error).splitlines()[0]}", AGAIN) from error


def read_pickled(path: Path) -> object:
    """What torch.save wrote, if it is made of tensors and plain containers alone; anything else in it is refused, not run.

    Raises WeightsError when the file is missing, damaged, or holds Python objects.
    """
    what = f"cannot read the weights {path}"
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(what, error.strerror or str(error), "check the path") from error
    except Exception as error:  # damaged pickles fail in as many ways as there are bytes
        why = "it is damaged, or holds Python objects beside tensors, which are not run"
        raise WeightsError(what, why, "download it again, or save its tensors as .safetensors where you trust it") from error


def read_json_object(path: Path) -> dict[str, object]:
    """A JSON object that comes with weights (config.json, an index of shards). WeightsError when it is missing or no such thing."""
    what = f"cannot read {path}"
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(MAX_JSON_BYTES))
    except OSError as error:
        raise WeightsError(what, error.strerror or str(error), "give the folder as it was downloaded") from error
    except (ValueError, RecursionError) as error:
        raise WeightsError(what, f"it is no JSON: {error}", AGAIN) from error
    if not isinstance(value, dict):
        raise WeightsError(what, "it holds no JSON object", AGAIN)
    return value


def read_sharded(folder: Path, name: str = "diffusion_pytorch_model") -> dict[str, Tensor]:
    """The tensors of a diffusers folder: NAME.safetensors, or the shards that NAME.safetensors.index.json lists.

    Raises WeightsError as `read_safetensors` does, and when the folder has pickles (.bin) alone.
    """
    single, index = folder / f"{name}.safetensors", folder / f"{name}.safetensors.index.json"
    if single.is_file():
        return read_safetensors(single)
    if not index.is_file():
        pickles = next(iter(sorted(folder.glob("*.bin"))), None)
        why = f"{pickles.name} is a pickle, which could run code" if pickles else f"{single.name} is missing"
        raise WeightsError(f"no weights in {folder}", why, "give a diffusers folder with safetensors")
    shards = read_json_object(index).get("weight_map")
    names = set(shards.values()) if isinstance(shards, dict) and all(isinstance(shard, str) for shard in shards.values()) else set()
    if not names or any(Path(shard).name != shard for shard in names):
        raise WeightsError(f"cannot read {index}", "it lists no files of this folder", AGAIN)
    return {key: tensor for shard in sorted(names) for key, tensor in read_safetensors(folder / shard).items()}
