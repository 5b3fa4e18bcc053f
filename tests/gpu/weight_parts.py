"""Weights in files of a limited size, which a machine with a GPU can send back."""

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

LARGEST = 16 * 2**20  # bytes of a file
HEADER = 2**17  # bytes of it that are kept for the header


def write_parts(out: Path, name: str, weights: dict[str, Tensor], largest: int = LARGEST) -> list[str]:
    """Write weights as files NAME-0.safetensors and so on, of at most `largest` bytes each. Returns their names."""
    parts: list[dict[str, Tensor]] = [{}]
    room = budget = largest - HEADER
    for key, value in weights.items():
        size = value.numel() * value.element_size()
        if size > room and parts[-1]:
            parts.append({})
            room = budget
        parts[-1][key], room = value.contiguous(), room - size
    files = [f"{name}-{k}.safetensors" for k in range(len(parts))]
    for file, part in zip(files, parts, strict=True):
        save_file(part, out / f"{file}.partial")
        (out / f"{file}.partial").rename(out / file)
    return files


def read_parts(paths: list[Path]) -> dict[str, Tensor]:
    """The tensors of several files."""
    return {name: value.float() for path in paths for name, value in load_file(path).items()}
