"""Random changes of files, of the kinds that find faults in readers. The same generator makes the same changes."""

import random
import re
import struct

EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)  # integers at which readers fail
# What stands in place of a number or a word of a text file.
TOKENS = (
    *(
        "0",
        "-1",
        "1e999",
        "-0.0",
        "1e-320",
        "12345678901234567890123",
        "NaN",
        "Infinity",
        "null",
        "true",
        "no",
        "010",
        "4:16",
    ),
    *(
        '"x"',
        '""',
        "[]",
        "{}",
        "[[[[",
        "&a *a",
        "\\u0000",
        "../../x",
        "/dev/zero",
        "~",
        "a\tb",
        "\ufeff",
        "\udce9",
        "x" * 300,
    ),
)


def mutated(data: bytes, is_text: bool, generator: random.Random) -> bytes:
    """A copy of a file with one to six changes."""
    for _ in range(generator.choice((1, 1, 1, 2, 3, 6))):
        changes = TEXT_CHANGES if is_text and generator.random() < 0.7 else CHANGES
        data = generator.choice(changes)(data, generator)
    return data


def _place(data: bytes, generator: random.Random) -> int:
    """An offset; half of them are in the header."""
    return generator.randrange(min(len(data), 256) if generator.random() < 0.5 else len(data)) if data else 0


def _flip(data: bytes, generator: random.Random) -> bytes:
    at = _place(data, generator)
    return data[:at] + bytes([data[at] ^ 1 << generator.randrange(8)]) + data[at + 1 :] if data else data


def _edge(data: bytes, generator: random.Random) -> bytes:
    at, value = _place(data, generator), generator.choice(EDGES)
    packed = struct.pack(generator.choice("<>") + generator.choice("IQ"), value)
    packed = packed if generator.random() < 0.7 else packed[:2]
    return data[:at] + packed + data[at + len(packed) :]


def _cut(data: bytes, generator: random.Random) -> bytes:
    return data[: _place(data, generator)]


def _remove(data: bytes, generator: random.Random) -> bytes:
    at = _place(data, generator)
    return data[:at] + data[at + generator.choice((1, 4, 64, 4096)) :]


def _repeat(data: bytes, generator: random.Random) -> bytes:
    at, length = _place(data, generator), generator.choice((1, 4, 64, 4096))
    return data[: at + length] + data[at:]


def _insert(data: bytes, generator: random.Random) -> bytes:
    at = _place(data, generator)
    return data[:at] + generator.randbytes(generator.choice((1, 2, 8, 128))) + data[at:]


def _token(data: bytes, generator: random.Random) -> bytes:
    tokens = list(re.finditer(rb'"[^"]*"|[-+.\w]+', data))
    if not tokens:
        return data
    found, new = generator.choice(tokens), generator.choice(TOKENS).encode("utf-8", "surrogateescape")
    return data[: found.start()] + new + data[found.end() :]


def _line(data: bytes, generator: random.Random) -> bytes:
    lines = data.split(b"\n")
    at = generator.randrange(len(lines))
    return b"\n".join(lines[:at] + lines[at : at + 1] * generator.choice((0, 2, 100)) + lines[at + 1 :])


def _encoding(data: bytes, generator: random.Random) -> bytes:
    return data.decode("utf-8", "replace").encode(generator.choice(("utf-16", "utf-16-le", "utf-8-sig", "utf-32")))


CHANGES = (_flip, _edge, _cut, _remove, _repeat, _insert)
TEXT_CHANGES = (_token, _token, _token, _line, _encoding)
