"""Turns Python's OSError into an error with a cause and a next step."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.errors import InputError, RunError, StageError

# Error numbers of a full disk.
OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Error numbers of a path at which this user cannot write.
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
    """The error for a failed write to `path`: RunError if the disk is full or fails, InputError if the path is bad."""
    why = error.strerror or str(error)
    if error.errno in OUT_OF_SPACE:
        return RunError(f"cannot write {path}", why, "free some space, or write to another disk")
    if error.errno in NOT_WRITABLE:
        return InputError(f"cannot write {path}", why, "give a path that you may write to")
    return RunError(f"cannot write {path}", why, "check the disk and run again")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError in the body, which writes `path`, into the matching StageError."""
    try:
        yield
    except OSError as error:
        raise write_failure(path, error) from error


def require_file(path: Path, hint: str) -> None:
    """Raise InputError unless `path` is a regular file that can be opened for reading."""
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
    except ValueError as error:  # the name holds a NUL character
        raise InputError(what, str(error), hint) from error
