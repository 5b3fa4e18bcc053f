"""Makes a furniture pack from the catalogues in a folder: chooses models and simplifies them."""

import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from stages.errors import InputError
from stages.worlds.furnished.catalogue import Model, read_catalogue, read_model, size_of
from stages.worlds.furnished.pack import write_pack
from stages.worlds.furnished.roles import role_of
from stages.worlds.furnished.simplify import simplify

Candidate = tuple[str, dict[str, str], zipfile.ZipFile, str]  # role, entry, archive, name of the catalogue
LEAFY = ("tree", "hedge", "plant")  # roles of models that get twice as many triangles
LARGEST_FILE = 20_000_000  # bytes; larger OBJ files are left out, because they take minutes and look no better


def make_pack(folder: Path, path: Path, triangles: int, side: int, most: int, log: Callable[[str], None]) -> int:
    """Write a pack of at most `most` models from the `.sh3f` catalogues of a folder. Returns their number.

    triangles: about the largest number per model.  side: of the pictures, px.  log: called for what is left out.
    Raises InputError when the folder holds no catalogue.
    """
    catalogues = sorted(folder.glob("*.sh3f"))
    if not catalogues:
        hint = "give the folder of Debian's package sweethome3d-furniture"
        raise InputError(f"no furniture in {folder}", "it holds no .sh3f file", hint)
    candidates: list[Candidate] = []
    with ExitStack() as stack:
        for catalogue in catalogues:
            archive = stack.enter_context(zipfile.ZipFile(catalogue))
            for entry in read_catalogue(archive):
                role = role_of(entry["name"], entry.get("category", ""), size_of(entry))
                if role and archive.getinfo(entry["model"].lstrip("/")).file_size <= LARGEST_FILE:
                    candidates.append((role, entry, archive, catalogue.stem))
        models: list[tuple[Model, str]] = []
        for role, entry, archive, name in spread(candidates):
            if len(models) == most:
                break
            try:
                model = read_model(entry, archive, name)
            except ValueError as error:
                log(f"left out: {error}")
                continue
            models.append((reduced(model, role, triangles), role))
    write_pack(path, models, side)
    return len(models)


def spread(candidates: list[Candidate]) -> list[Candidate]:
    """Order candidates so that the first ones, however many are taken, hold some of each role."""
    roles: dict[str, list[Candidate]] = {}
    for item in candidates:
        roles.setdefault(item[0], []).append(item)
    ranked = []
    for role, items in sorted(roles.items()):
        # Every second one comes first, because neighbours in a catalogue are often versions of one model.
        ranked += [((k + 0.5) / len(items) ** 0.75, role, item) for k, item in enumerate(items[::2] + items[1::2])]
    return [item for _, _, item in sorted(ranked, key=lambda row: row[:2])]


def reduced(model: Model, role: str, triangles: int) -> Model:
    """A model with fewer triangles. Plants keep more, because leaves cannot be merged."""
    return replace(model, parts=simplify(model.parts, triangles * (2 if role in LEAFY else 1)))
