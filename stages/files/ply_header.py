"""Reader of the header of an untrusted binary PLY file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from stages.errors import InputError
from stages.files.os_errors import require_file

MAX_HEADER_BYTES = 64 * 2**10  # a 3DGS header of SH degree 4 has about 2 KiB
# PLY's number types as numpy's, little-endian.
TYPES = {
    **{"char": "<i1", "uchar": "<u1", "short": "<i2", "ushort": "<u2", "int": "<i4", "uint": "<u4"},
    **{"int8": "<i1", "uint8": "<u1", "int16": "<i2", "uint16": "<u2", "int32": "<i4", "uint32": "<u4"},
    **{"float": "<f4", "double": "<f8", "float32": "<f4", "float64": "<f8"},
}


@dataclass(frozen=True)
class Header:
    """The vertices are `count` rows of `layout` that begin at byte `offset`. comments: one per line."""

    count: int
    layout: np.dtype
    offset: int
    comments: tuple[str, ...] = ()


def read_header(path: Path) -> Header:
    """Read the header of a binary little-endian PLY whose first element is `vertex`. Further elements are ignored.

    Raises InputError: missing, not such a PLY, a header that is malformed or above 64 KiB, no vertices, or a file too
    short for them.
    """
    require_file(path, "give a PLY of Gaussians in the 3DGS layout")

    def refuse(why: str) -> NoReturn:
        raise InputError(f"cannot read {path}", why, "give a binary little-endian PLY of Gaussians in the 3DGS layout")

    with path.open("rb") as file:
        start = file.read(MAX_HEADER_BYTES)
    # The header ends with a line `end_header`. Its first statement is the format.
    if not start.startswith((b"ply\n", b"ply\r\n")):
        refuse("not a PLY file")
    end = start.find(b"\nend_header")
    newline = start.find(b"\n", end + 1)
    if end < 0 or newline < 0:
        refuse(f"its header does not end within {MAX_HEADER_BYTES} bytes")
    lines = [line.split() for line in start[:end].decode("ascii", "replace").splitlines()[1:]]
    statements = [words for words in lines if words and words[0] not in ("comment", "obj_info")]
    if not statements or statements[0][0] != "format":
        refuse("it states no format")
    if statements[0][1:] != ["binary_little_endian", "1.0"]:
        refuse(f"its format is {' '.join(statements[0][1:])}")

    # The number of vertices.
    elements = [index for index, words in enumerate(statements) if words[0] == "element"]
    if not elements or statements[elements[0]][1:2] != ["vertex"]:
        refuse("its first element is not vertex")
    _, _, *counts = statements[elements[0]]
    digits = len(counts) == 1 and counts[0].isascii() and counts[0].isdigit() and len(counts[0]) <= 18
    if not digits or int(counts[0]) == 0:
        refuse(f"it states {' '.join(counts) or 'no number of'} vertices"[:80])
    count = int(counts[0])

    # The properties of a vertex.
    fields: dict[str, str] = {}
    for words in statements[elements[0] + 1 : elements[1] if len(elements) > 1 else None]:
        if len(words) != 3 or words[0] != "property" or words[1] not in TYPES or words[2] in fields:
            refuse(f"its header has a wrong line: {' '.join(words)}"[:80])
        fields[words[2]] = TYPES[words[1]]
    layout = np.dtype(list(fields.items()))
    needed, size = newline + 1 + count * layout.itemsize, path.stat().st_size
    if needed > size:
        refuse(f"it states {count} vertices, which take {needed} bytes, but has {size}")
    comments = tuple(" ".join(words[1:]) for words in lines if words and words[0] == "comment")
    return Header(count, layout, newline + 1, comments)
