"""`generate --pairs FOLDER`: the pairs of photographs in a folder, by their names."""

import re
from collections.abc import Callable
from pathlib import Path

from stages.errors import InputError
from videoscene_cli.terminal.work_list import Work, require_folder

NAMING = "call the two photographs of a pair NAME_0 and NAME_1 (or _1 and _2, _a and _b, _left and _right)"
MARK = re.compile(r"(.+)[ _-](0|1|2|a|b|left|right)", re.IGNORECASE)  # the name of a pair, and which photograph it is
COUPLES = ({"0", "1"}, {"1", "2"}, {"a", "b"}, {"left", "right"})


def pairs_in(folder: Path, out: str | None, warn: Callable[[str], None]) -> list[Work]:
    """The pairs of a folder, each with the video out/NAME.mp4 as its result, sorted by name.

    warn: is told of photographs that belong to no pair.
    Raises InputError when `out` is missing or is no folder, when the pairs' folder cannot be listed or has no pair, and
    when two files could be the same photograph of a pair.
    """
    from stages.files.image_decoding import photographs_in

    if out is None:
        raise InputError("no place for the results", "-o is missing", "add -o FOLDER, where the videos go")
    require_folder(out)
    marked: dict[str, dict[str, Path]] = {}
    alone = []
    for path in photographs_in(folder):
        match = MARK.fullmatch(path.stem)
        if match is None:
            alone.append(path)
            continue
        photographs = marked.setdefault(match[1], {})
        twin = photographs.setdefault(match[2].lower(), path)
        if twin != path:
            raise InputError(f"two files for one photograph in {folder}", f"{twin.name} and {path.name}", "remove one")
    complete = {
        name: [found[mark] for mark in sorted(found)] for name, found in marked.items() if set(found) in COUPLES
    }
    alone += [path for name, found in marked.items() if name not in complete for path in found.values()]
    if not complete:
        why = f"{len(alone)} photographs, and no two whose names make a pair" if alone else "it holds no photograph"
        raise InputError(f"no pairs in {folder}", why, NAMING)
    if alone:
        names = ", ".join(path.name for path in sorted(alone)[:3]) + (", ..." if len(alone) > 3 else "")
        warn(f"{len(alone)} photographs of {folder} belong to no pair: {names}")
    return [Work(tuple(paths), str(Path(out) / f"{name}.mp4")) for name, paths in complete.items()]
