"""The lines of a list on stdin."""

import json
import os
from collections.abc import Iterator

from stages.errors import InputError
from stages.files.documents import decode_text

LIST_HINT = "lines of a.png<TAB>b.png[<TAB>out], of scene folders, or JSON objects with images or path"
SEPARATORS = {"commas": ",", "semicolons": ";", "bars": "|", "spaces": None}  # what people write in place of tabs


def read_list(data: bytes) -> Iterator[tuple[list[str], str | None]]:
    """The paths of each line, two photographs or one folder, and the path of its result, if it names one.

    data: UTF-8, or the encoding of a byte order mark. Bytes that are not UTF-8 stay as they are, for they may belong to
    names.  A leading ~ becomes the home folder.  Raises InputError for the first line that is malformed.
    """
    try:
        lines = [line.rstrip("\r") for line in decode_text(data, errors="surrogateescape").split("\n")]
    except UnicodeDecodeError as error:
        raise InputError(
            "cannot read the list on stdin", f"it is no {error.encoding} text", "save it as UTF-8"
        ) from error
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            raise InputError(
                f"bad line {number} on stdin", "it holds NUL characters, as UTF-16 does", "save it as UTF-8"
            )
        if line.strip():
            paths, out = _json_line(line, number) if line.lstrip().startswith("{") else _columns(line, number)
            yield [os.path.expanduser(path) for path in paths], None if out is None else os.path.expanduser(out)


def _columns(line: str, number: int) -> tuple[list[str], str | None]:
    paths, out = line.split("\t")[:2], line.split("\t")[2:]
    if len(out) > 1 or not all([*paths, *out]):
        why = f"{line!r} has an empty or a fourth column"
        raise InputError(f"bad line {number} on stdin", why, f"give {LIST_HINT}")
    if not os.path.lexists(paths[0]):
        _refuse_other_lists(line, paths, number)
    separator = _wrong_separator(line) if len(paths) == 1 else None
    if separator:
        why = f"the columns of {line!r} are parted by {separator}, not by tabs"
        raise InputError(f"bad line {number} on stdin", why, f"give {LIST_HINT}")
    return paths, out[0] if out else None


def _refuse_other_lists(line: str, paths: list[str], number: int) -> None:
    """Raise InputError for a line as other programs write it. Its first path names no file."""
    if line.lstrip().startswith("#"):
        why, hint = f"{line!r} looks like a comment, which a list cannot hold", "remove the line"
    elif line.strip() == "[" or line.lstrip().startswith(("[{", "[[", '["')):
        why, hint = "it begins a JSON array, and a list has one JSON object per line", "jq -c '.[]' makes such lines"
    elif any(len(path) > 1 and path[0] == path[-1] and path[0] in "\"'" for path in paths):
        why, hint = f"the paths of {line!r} are in quotes", "remove the quotes: tabs part the columns, spaces do not"
    else:
        return
    raise InputError(f"bad line {number} on stdin", why, hint)


def _wrong_separator(line: str) -> str | None:
    """The separator of a line without tabs, or None. It makes two or three columns, and the first two are files."""
    for name, separator in SEPARATORS.items():
        columns = [column.strip() for column in line.split(separator)]
        if len(columns) in (2, 3) and not os.path.lexists(line) and all(os.path.splitext(c)[1] for c in columns[:2]):
            return name
    return None


def _json_line(line: str, number: int) -> tuple[list[str], str | None]:
    try:
        record = json.loads(line)
        if not {"images", "path"} & set(record):
            raise ValueError(f"it has neither images nor path, but {', '.join(map(str, record)) or 'nothing'}")
        paths, out = record["images"] if "images" in record else [record["path"]], record.get("out")
        if not isinstance(paths, list) or ("images" in record and len(paths) != 2):
            raise TypeError("images must be a list of two")
        if not all(isinstance(text, str) and text for text in [*paths, *([] if out is None else [out])]):
            raise TypeError("images, path and out must be text")
        if any("\0" in text for text in [*paths, out or ""]):
            raise ValueError("a path holds a NUL character")
    except (ValueError, TypeError, RecursionError) as error:
        why = str(error) if type(error) in (ValueError, TypeError) else f"it is no JSON object of one line: {error}"
        raise InputError(f"bad line {number} on stdin", why, f"give {LIST_HINT}") from error
    return paths, out
