"""The hidden files and folders beside a result, and their removal after a run was killed.

.NAME.partial-PID-xxxxxxxx is an unfinished result. .NAME.aside-PID-xxxxxxxx is the earlier result while it is being
replaced.
"""

import hashlib
import os
import re
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

_STARTED = time.time()  # when this process loaded the module, seconds since the epoch


MOST_BYTES = 200  # longest name, in bytes, that a hidden name holds uncut; file systems allow 255 bytes in all


def hidden_stem(name: str) -> str:
    """What the hidden names beside a result called `name` begin with. A long name is cut, with a hash in its place."""
    data = os.fsencode(name)
    if len(data) <= MOST_BYTES:
        return f".{name}"
    cut = os.fsdecode(data[: MOST_BYTES - 20]).encode("utf-8", "ignore").decode()
    return f".{cut}-{hashlib.sha256(data).hexdigest()[:16]}"


def sibling(target: Path, kind: Literal["partial", "aside"]) -> Path:
    """A new hidden path beside `target`, marked with this process's id."""
    return target.with_name(f"{hidden_stem(target.name)}.{kind}-{os.getpid()}-{secrets.token_hex(4)}")


def recover(target: Path) -> None:
    """Remove what killed runs left beside `target`. If `target` is missing and an aside exists, move that back."""
    pattern = re.compile(rf"{re.escape(hidden_stem(target.name))}\.(partial|aside)-(\d+)-[0-9a-f]{{8}}")
    for entry in sorted(target.parent.iterdir()):
        match = pattern.fullmatch(entry.name)
        if match is None or _in_use(int(match[2]), entry):
            continue
        if match[1] == "aside" and not os.path.lexists(target):
            entry.rename(target)
        else:
            remove(entry)


def remove(path: Path) -> None:
    """Remove a file or a folder if it exists. What cannot be removed now is left for a later `recover`."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _in_use(pid: int, entry: Path) -> bool:
    """Whether the process that created this entry may still be running."""
    if pid == os.getpid():
        # Containers reuse the same few process ids. An entry older than this process belongs to an earlier one.
        with suppress(FileNotFoundError):
            return entry.lstat().st_mtime > _STARTED
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
