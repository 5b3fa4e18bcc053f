"""Published test sets for --two-view: chunks of RealEstate10K with their index, COLMAP folders; unpacked into OUT/scenes once."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.errors import InputError
from videoscene_cli.models.session import Session

if TYPE_CHECKING:
    from stages.evaluate.published_sets import Entry


class Unpacker:
    """Unpacks scenes into a folder; one that cannot be is told, and kept in `errors`, and the rest goes on."""

    def __init__(self, index: Path | None, scenes: Path, session: Session) -> None:
        from stages.evaluate.published_sets import read_index

        self.scenes, self.session = scenes, session
        self.entries: Mapping[str, Entry] | None = None if index is None else read_index(index)
        self.kind = "colmap" if index is None else index.stem
        self.errors: dict[str, Exception] = {}

    def _failed(self, name: str, error: InputError) -> None:
        self.errors[name] = error
        self.session.report.error(error)

    def chunks(self, folder: Path) -> list[Path]:
        """The scenes of the index that are in a folder of chunks, chunk by chunk, so that each is read once."""
        from stages.evaluate.published_sets import unpack_recording
        from stages.files.realestate import find_recording, read_chunk

        if self.entries is None:
            hint = "name the index too, such as evaluation_index_re10k.json of pixelSplat's assets"
            raise InputError(f"no cases for {folder}", "chunks do not say which frames are given and which are made", hint)
        places, made = [], []
        for key in self.entries:
            try:
                places.append((find_recording(folder, key), key))
            except InputError as error:
                self._failed(key, error)
        for chunk, group in itertools.groupby(sorted(places), lambda place: place[0]):
            keys = [key for _, key in group]
            try:
                recordings = {recording.key: recording for recording in read_chunk(chunk)}
            except InputError as error:
                for key in keys:
                    self._failed(key, error)
                continue
            for key in keys:
                try:
                    if key not in recordings:
                        raise InputError(f"no scene {key}", f"{chunk.name} does not hold it", "download the chunk and its index again")
                    unpack_recording(recordings[key], self.entries[key], self.kind, self.scenes / key)
                    made.append(self.scenes / key)
                except InputError as error:
                    self._failed(key, error)
        return made

    def colmap(self, folders: Sequence[Path]) -> list[Path]:
        """COLMAP scenes, with the cases of the index or, without one, pairs of test images."""
        from stages.evaluate.published_sets import unpack_colmap

        made = []
        for folder in folders:
            if self.entries is not None and folder.name not in self.entries:
                continue
            try:
                unpack_colmap(folder, None if self.entries is None else [self.entries[folder.name]], self.kind, self.scenes / folder.name)
                made.append(self.scenes / folder.name)
            except InputError as error:
                self._failed(folder.name, error)
        return made


def unpack_scenes(given: Sequence[Path], out: Path, session: Session) -> tuple[list[Path], dict[str, Exception]]:
    """Two-view scene folders as they are, the scenes of published sets unpacked: their folders, and the errors of those that cannot be.

    given: folders, and at most one .json, the index of cases.
    With --dry-run nothing is unpacked but told. Raises InputError for a bad index, chunks without one, or when nothing is left.
    """
    from stages.evaluate.published_sets import is_colmap
    from stages.files.realestate import INDEX

    indices = [path for path in given if path.suffix == ".json"]
    if len(indices) > 1:
        raise InputError("bad usage", f"{len(indices)} indices of cases", "give the scenes of one index at a time")
    folders = [path for path in given if path not in indices]
    unpacker, found = Unpacker(indices[0] if indices else None, out / "scenes", session), list[Path]()
    for folder in folders:
        models = [folder] if is_colmap(folder) else sorted(path for path in folder.glob("*") if is_colmap(path))
        if not (folder / INDEX).is_file() and not models:
            found.append(folder)
            continue
        if session.shared.dry_run:
            count = len(unpacker.entries or ()) if (folder / INDEX).is_file() else len(models)
            session.report.data(f"to unpack: {count} scenes of {folder}", {"folder": str(folder), "scenes": count})
            continue
        with session.report.progress("unpacking"):
            found += unpacker.chunks(folder) if (folder / INDEX).is_file() else unpacker.colmap(models)
    if not found and not session.shared.dry_run:
        why = next(iter(unpacker.errors.values()), None)
        raise why or InputError("nothing to evaluate", "the index names none of the scenes", "give the index of this set")
    return found, unpacker.errors
