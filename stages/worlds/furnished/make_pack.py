"""Makes a furniture pack of the catalogues in a folder: which models, how many, how large."""

from __future__ import annotations

from pathlib import Path
from collections.abc import Callable

from stages.errors import InputError
from stages.worlds.furnished.catalogue import Model, read_catalogue, read_model, size_of
from stages.worlds.furnished.pack import write_pack
from stages.worlds.furnished.roles import role_of

LARGEST_FILE = 20_000_000  # bytes of an OBJ file: beyond this a model takes minutes and looks no better


def make_pack(folder: Path, path: Path, triangles: int, side: int, most: int, log: Callable[[str], None]) -> int:
    """Read the `.sh3f` catalogues of a folder and write a pack of at most `most` models, spread over the roles. Returns how many.

    triangles: at most about so many per model.  side: pixels of its pictures.  log: told what was left out, and why.
    Raises InputError when the folder holds no catalogue.
    """
    catalogues = sorted(folder.glob("*.sh3f"))
    if not catalogues:
        raise InputError(f"no furniture in {folder}", "it holds no .sh3f file", "give the folder of Debian's package sweethome3d-furniture")
    models: list[tuple[Model, str]] = []
    for catalogue in catalogues:
        for entry, archive in read_catalogue(catalogue):
            try:
                role = role_of(entry["name"], entry.get("category", ""), size_of(entry))
                if role == "" or archive.getinfo(entry["model"].lstrip("/")).file_size > LARGEST_FILE:
                    continue
                models.append((read_model(entry, archive, catalogue.stem), role))
            except (ValueError, KeyError, OSError, IndexError, AttributeError, TypeError) as error:
                log(f"left out {entry.get('name', '?')} of {catalogue.stem}: {error!r}")
    chosen = spread(models, most)
    write_pack(path, chosen, triangles, side)
    return len(chosen)


def spread(models: list[tuple[Model, str]], most: int) -> list[tuple[Model, str]]:
    """At most `most` models, taken from the roles in turn, so that rare roles keep theirs."""
    queues: dict[str, list[tuple[Model, str]]] = {}
    for model in models:
        queues.setdefault(model[1], []).append(model)
    # Every second of a role first: neighbours in a catalogue are often versions of one model.
    waiting = {role: queue[::2] + queue[1::2] for role, queue in sorted(queues.items())}
    chosen: list[tuple[Model, str]] = []
    while len(chosen) < most and any(waiting.values()):
        for queue in waiting.values():
            if queue and len(chosen) < most:
                chosen.append(queue.pop(0))
    return chosen
