"""Readers of untrusted files of network weights. They run no code from a file, and errors name what does not fit."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from stages.errors import InputError, WeightsError
from stages.files.documents import read_json
from stages.files.publish import publish

DOWNLOAD = "download it again"


@dataclass(frozen=True)
class KeyReport:
    """The keys of a file compared with those of a network.

    matched: in both.  missing: in the network only.  unexpected: in the file only.
    reshaped: in both, but with another shape or not floating point.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether the file holds exactly this network's weights."""
        return not (self.missing or self.unexpected or self.reshaped)

    def __str__(self) -> str:
        counts = f"{len(self.matched)} keys match, {len(self.missing)} missing, {len(self.unexpected)} unexpected"
        return f"{counts}, {len(self.reshaped)} of another shape"


def compare_keys(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> KeyReport:
    """Compare the tensors of a file with a network's state dict `own`, which may be on the meta device."""

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
    """One key that differs, in words: one of another shape, else an unexpected one, else a missing one.

    Call it only for a report that is not exact.
    """
    if report.reshaped:
        key = report.reshaped[0]
        return f"{key} is {shape_in_words(tensors[key])}, not {shape_in_words(own[key])}"
    return f"{report.unexpected[0]} is unexpected" if report.unexpected else f"{report.missing[0]} is missing"


def require_keys(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], what: str, hint: str) -> None:
    """Raise WeightsError, naming a key that differs, unless the tensors fit a network's state dict `own` exactly."""
    report = compare_keys(own, tensors)
    if not report.exact:
        raise WeightsError(what, f"{first_difference(own, tensors, report)}; {report}", hint)


def shape_in_words(tensor: Tensor) -> str:
    """The shape of a tensor, with its dtype unless that is floating point."""
    shape = str(tuple(tensor.shape))
    return shape if tensor.is_floating_point() else f"{shape} of {str(tensor.dtype).removeprefix('torch.')}"


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a .safetensors file, mapped into memory, so that only tensors that are used are read.

    Raises WeightsError when the file is missing, cut off, or not a safetensors file.
    """
    with _opened(path) as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (file is not a mapping)


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    """A .safetensors file. Errors about it become WeightsError."""
    what = f"cannot read the weights {path}"
    try:
        with safe_open(path, "pt") as file:
            yield file
    except OSError as error:
        raise WeightsError(what, error.strerror or str(error), "check the path") from error
    except SafetensorError as error:
        why = f"it is damaged or not a safetensors file: {str(error).splitlines()[0]}"
        raise WeightsError(what, why, DOWNLOAD) from error


def names_in(path: Path) -> set[str]:
    """The names of the tensors of a .safetensors file, from its header. Raises WeightsError like `read_safetensors`."""
    with _opened(path) as file:
        return set(file.keys())


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> None:
    """Publish tensors as a .safetensors file, in another dtype if one is given."""
    stored = {name: value.detach().to("cpu", dtype).contiguous() for name, value in tensors.items()}
    with publish(path) as partial:
        save_file(stored, partial)


def read_pickled(path: Path) -> object:
    """Read a file that torch.save wrote, if it holds nothing but tensors and plain containers.

    Raises WeightsError when the file is missing or damaged, or holds other Python objects, which are never run.
    """
    what = f"cannot read the weights {path}"
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(what, error.strerror or str(error), "check the path") from error
    except Exception as error:  # a damaged pickle can raise nearly any exception
        why = "it is damaged, or holds Python objects other than tensors, which are not run"
        raise WeightsError(what, why, f"{DOWNLOAD}, or, if you trust it, save its tensors as .safetensors") from error


def read_json_object(path: Path) -> dict[str, object]:
    """Read a JSON object that comes with weights (config.json, an index of shards). Raises WeightsError."""
    try:
        value = read_json(path)
    except InputError as error:
        raise WeightsError(error.what, error.why, "give the folder as it was downloaded") from error
    if not isinstance(value, dict):
        raise WeightsError(f"cannot read {path}", "it is not a JSON object", DOWNLOAD)
    return value


def read_sharded(folder: Path) -> dict[str, Tensor]:
    """The tensors of a diffusers folder: one file, or the shards that its index lists.

    Raises WeightsError as `read_safetensors` does, and when the folder holds no safetensors but pickles (.bin).
    """
    single = folder / "diffusion_pytorch_model.safetensors"
    index = folder / f"{single.name}.index.json"
    if single.is_file():
        return read_safetensors(single)
    if not index.is_file():
        pickles = next(iter(sorted(folder.glob("*.bin"))), None)
        why = f"{pickles.name} is a pickle, which could run code" if pickles else f"{single.name} is missing"
        raise WeightsError(f"no weights in {folder}", why, "give a diffusers folder with safetensors")
    shards = read_json_object(index).get("weight_map")
    listed = list(shards.values()) if isinstance(shards, dict) else []
    names = set(listed) if all(isinstance(shard, str) for shard in listed) else set()
    if not names or any(Path(shard).name != shard for shard in names):
        raise WeightsError(f"cannot read {index}", "it lists no files of this folder", DOWNLOAD)
    return {key: tensor for shard in sorted(names) for key, tensor in read_safetensors(folder / shard).items()}
