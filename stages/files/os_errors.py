"""OSError, as Python raises it, into the three lines a user can act on."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.errors import InputError, RunError, StageError

OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_WRITABLE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENOENT,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)


def write_failure(path: Path | str, error: OSError) -> StageError:
    """The error to raise when writing `path` failed: RunError when the disk is full or fails, InputError when the place is wrong."""
    why = error.strerror or str(error)
    if error.errno in OUT_OF_SPACE:
        return RunError(f"cannot write {path}", why, "free some space, or write to another disk")
    if error.errno in NOT_WRITABLE:
        return InputError(f"cannot write {path}", why, "name a place that you may write to")
    if error.errno == errno.EPIPE:
        return RunError(f"cannot write {path}", "its reader closed the stream", "keep the reader open until the end")
    return RunError(f"cannot write {path}", why, "check the disk and run again")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError met while writing `path` into the matching StageError."""
    try:
        yield
    except OSError as error:
        raise write_failure(path, error) from error


def require_file(path: Path, hint: str) -> None:
    """InputError unless `path` is a regular file that can be opened for reading."""
    what = f"cannot read {path}"
    try:
        if path.is_dir():
            raise InputError(what, "it is a folder", hint)
        if path.exists() and not path.is_file():
            raise InputError(what, "it is not a regular file", hint)
        os.close(os.open(path, os.O_RDONLY))
    except FileNotFoundError as error:
        raise InputError(what, "no such file", hint) from error
    except OSError as error:
        raise InputError(what, error.strerror or str(error), hint) from error
    except ValueError as error:  # a NUL character in the name
        raise InputError(what, str(error), hint) from error
