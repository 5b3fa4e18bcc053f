"""Hashes of files, each computed once: a command compares the same inputs and outputs with several manifests."""

from pathlib import Path

from stages.files.documents import sha256_file
from stages.files.os_errors import require_file


class FileHashes:
    """SHA-256 of files. A file that has changed since the last call is hashed again; a file that was renamed is not."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int, int], str] = {}

    def of(self, path: Path) -> str:
        """64 hexadecimal digits. Raises InputError when the file cannot be read."""
        require_file(path, "check the path")
        status = path.stat()
        identity = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
        if identity not in self._known:
            self._known[identity] = sha256_file(path)
        return self._known[identity]
