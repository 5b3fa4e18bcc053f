"""The hidden siblings of a result (.NAME.partial-PID-xxxxxxxx, .NAME.aside-PID-xxxxxxxx) and what killed runs leave of them."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

_LOADED = time.time()


def sibling(target: Path, kind: Literal["partial", "aside"]) -> Path:
    """A fresh hidden name beside `target` that says which process it belongs to. A partial is unfinished, an aside an earlier result."""
    return target.with_name(f".{target.name}.{kind}-{os.getpid()}-{secrets.token_hex(4)}")


def recover(target: Path) -> None:
    """Clear what killed runs left beside `target`; if the earlier result had been moved aside and nothing came in, put it back."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.(partial|aside)-(\d+)-[0-9a-f]{{8}}")
    for entry in sorted(target.parent.iterdir()):
        match = pattern.fullmatch(entry.name)
        if match is None or _in_use(int(match[2]), entry):
            continue
        if match[1] == "aside" and not os.path.lexists(target):
            entry.rename(target)
        else:
            remove(entry)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there; what cannot be removed now is left for a later recover."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _in_use(pid: int, entry: Path) -> bool:
    """Whether the process that made this entry may still be running."""
    if pid == os.getpid():
        # Containers hand the same few numbers out again: an entry older than this process is of an earlier one.
        with suppress(FileNotFoundError):
            return entry.lstat().st_mtime > _LOADED
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
