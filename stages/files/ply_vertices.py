"""The vertices of a binary PLY file: written, and read from an untrusted file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from stages.errors import InputError
from stages.files.os_errors import require_file, writing

MAX_HEADER_BYTES = 64 * 2**10  # a 3DGS header of SH degree 4 has about 2 KiB


TYPES = {"<f4": "float", "|u1": "uchar"}  # PLY's names of numpy's types


def write_vertices(path: Path, columns: Mapping[str, np.ndarray], comments: Sequence[str]) -> None:
    """Write a binary little-endian PLY with the one element `vertex`. Creates parent folders.

    columns: [V] float32 or uint8, one per property, in the order of the file.  Raises RunError when the disk is full.
    """
    types = {name: column.dtype.newbyteorder("<").str for name, column in columns.items()}
    table = np.empty(len(next(iter(columns.values()))), dtype=list(types.items()))
    for name, column in columns.items():
        table[name] = column
    header = ["ply", "format binary_little_endian 1.0"]
    header += [f"comment {line}" for comment in comments for line in comment.splitlines()]
    header += [f"element vertex {len(table)}", *(f"property {TYPES[kind]} {name}" for name, kind in types.items())]
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write("".join(f"{line}\n" for line in [*header, "end_header"]).encode("ascii", "backslashreplace"))
            file.write(table.tobytes())


def read_vertices(path: Path) -> tuple[np.ndarray, list[str]]:
    """The rows of the element `vertex`, with a field per property, and the header's comments.

    Raises InputError if the file is missing, is not a binary little-endian PLY whose first element is `vertex`, has a
    header that is malformed or above 64 KiB, no vertices or lists, or is too short for its elements. Rows are mapped,
    not read, so a header that states too many takes no memory.
    """
    from plyfile import PlyData, PlyParseError

    def refuse(why: str) -> NoReturn:
        raise InputError(f"cannot read {path}", why, "give a binary little-endian PLY of Gaussians in the 3DGS layout")

    require_file(path, "give a PLY of Gaussians in the 3DGS layout")
    with path.open("rb") as file:
        header, end, _ = file.read(MAX_HEADER_BYTES).partition(b"\nend_header")
    lines = [line.split() for line in header.decode("ascii", "replace").split("\n")]
    if lines[0] != ["ply"] or not end:
        refuse(f"it is no PLY file whose header ends within {MAX_HEADER_BYTES} bytes")
    # plyfile reads text and lists row by row, which takes long for a large file; all else it maps into memory.
    is_binary = ["format", "binary_little_endian", "1.0"] in lines
    if not is_binary or any(words[:2] == ["property", "list"] for words in lines):
        refuse("it holds text, lists or big-endian numbers")
    try:
        data = PlyData.read(path, mmap="r")
    except (PlyParseError, ValueError, OverflowError, OSError) as error:
        refuse(" ".join(str(error).split())[:200] or type(error).__name__)
    if not data.elements or data.elements[0].name != "vertex" or data.elements[0].count < 1:
        refuse("its first element is not vertex, or there are none")
    return np.array(data.elements[0].data), data.comments
