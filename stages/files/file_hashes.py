"""Hashes of files, each computed once: a command compares the same inputs and outputs with several manifests."""

import contextlib
import json
import re
from pathlib import Path

from stages.errors import StageError
from stages.files.documents import read_json, sha256_file
from stages.files.os_errors import require_file
from stages.files.publish import publish

LARGE = 1 << 28  # bytes from which a hash is worth keeping for the next command
NOT_HASHED = "not hashed yet"  # stands for the hash of a file that may not be read


class FileHashes:
    """SHA-256 of files. A file that has changed since the last call is hashed again; a file that was renamed is not.

    store: a JSON file that keeps the hashes of large files, such as weights of gigabytes, for the next command.
    read_large: whether large files may be read. If not, only the hashes of those in the store are known.
    """

    def __init__(self, store: Path | None = None, read_large: bool = True) -> None:
        self._store, self._read_large = store, read_large
        self._known: dict[str, str] = {}

    def of(self, path: Path) -> str:
        """64 hexadecimal digits, or NOT_HASHED. Raises InputError when the file cannot be read."""
        require_file(path, "check the path")
        status = path.stat()
        identity = f"{status.st_dev} {status.st_ino} {status.st_mtime_ns} {status.st_size}"
        if identity not in self._known:
            large = status.st_size >= LARGE
            stored = self._read_store() if large else {}
            if identity not in stored:
                if large and not self._read_large:
                    return NOT_HASHED
                stored[identity] = sha256_file(path)
                if large:
                    self._write_store(stored)
            self._known[identity] = stored[identity]
        return self._known[identity]

    def _read_store(self) -> dict[str, str]:
        """The stored hashes; none if they cannot be read, because they only save time."""
        if self._store is None or not self._store.is_file():
            return {}
        with contextlib.suppress(StageError):
            stored = read_json(self._store)
            if isinstance(stored, dict):
                return {key: str(value) for key, value in stored.items() if re.fullmatch("[0-9a-f]{64}", str(value))}
        return {}

    def _write_store(self, stored: dict[str, str]) -> None:
        if self._store is not None:
            with contextlib.suppress(StageError, OSError), publish(self._store) as partial:
                partial.write_text(json.dumps(stored), encoding="utf-8")
