"""Published test sets for --two-view, unpacked once into OUT/scenes: RealEstate10K chunks and COLMAP folders."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.errors import InputError
from videoscene_cli.models.session import Session

if TYPE_CHECKING:
    from stages.evaluate.published_sets import Entry


class Unpacker:
    """Unpacks scenes into a folder. A failure is reported and kept in `errors`; the other scenes are unpacked."""

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
        """Unpack the index's scenes from a folder of chunks, chunk by chunk, so each is read once.

        Returns their folders.
        """
        from stages.evaluate.published_sets import unpack_recording
        from stages.files.realestate import find_recording, read_chunk

        if self.entries is None:
            hint = "name the index too, such as evaluation_index_re10k.json of pixelSplat's assets"
            why = "chunks do not say which frames are context and which targets"
            raise InputError(f"no cases for {folder}", why, hint)
        # Find the chunk of every scene.
        chunk_of_key, unpacked = [], []
        for key in self.entries:
            try:
                chunk_of_key.append((find_recording(folder, key), key))
            except InputError as error:
                self._failed(key, error)
        # Unpack the scenes of each chunk.
        for chunk, group in itertools.groupby(sorted(chunk_of_key), lambda pair: pair[0]):
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
                        why = f"{chunk.name} does not hold it"
                        raise InputError(f"no scene {key}", why, "download the chunk and its index again")
                    unpack_recording(recordings[key], self.entries[key], self.kind, self.scenes / key)
                    unpacked.append(self.scenes / key)
                except InputError as error:
                    self._failed(key, error)
        return unpacked

    def colmap(self, folders: Sequence[Path]) -> list[Path]:
        """Unpack COLMAP scenes with the cases of the index or, without one, with pairs of test images.

        Returns their folders.
        """
        from stages.evaluate.published_sets import unpack_colmap

        unpacked = []
        for folder in folders:
            if self.entries is not None and folder.name not in self.entries:
                continue
            try:
                entries = None if self.entries is None else [self.entries[folder.name]]
                unpack_colmap(folder, entries, self.kind, self.scenes / folder.name)
                unpacked.append(self.scenes / folder.name)
            except InputError as error:
                self._failed(folder.name, error)
        return unpacked


def unpack_scenes(given: Sequence[Path], out: Path, session: Session) -> tuple[list[Path], dict[str, Exception]]:
    """The two-view scene folders for an evaluation, and the errors of scenes that could not be unpacked.

    given: folders, and at most one .json file, the index of cases. Two-view folders are used as they are; published
    sets are unpacked, or only listed with --dry-run. Raises InputError for a bad index, for chunks
    without one, or when no scene is left.
    """
    from stages.evaluate.published_sets import is_colmap
    from stages.files.realestate import INDEX

    # Read the index.
    indices = [path for path in given if path.suffix == ".json"]
    if len(indices) > 1:
        raise InputError("bad usage", f"{len(indices)} indices of cases", "give the scenes of one index at a time")
    folders = [path for path in given if path not in indices]
    unpacker, scenes = Unpacker(indices[0] if indices else None, out / "scenes", session), list[Path]()
    # Keep two-view folders, unpack the others.
    for folder in folders:
        models = [folder] if is_colmap(folder) else sorted(path for path in folder.glob("*") if is_colmap(path))
        if not (folder / INDEX).is_file() and not models:
            scenes.append(folder)
            continue
        if session.shared.dry_run:
            count = len(unpacker.entries or ()) if (folder / INDEX).is_file() else len(models)
            session.report.data(f"to unpack: {count} scenes of {folder}", {"folder": str(folder), "scenes": count})
            continue
        with session.report.progress("unpacking"):
            scenes += unpacker.chunks(folder) if (folder / INDEX).is_file() else unpacker.colmap(models)
    if not scenes and not session.shared.dry_run:
        why = next(iter(unpacker.errors.values()), None)
        raise why or InputError(
            "nothing to evaluate", "the index names none of the scenes", "give the index of this set"
        )
    return scenes, unpacker.errors
