"""Results that appear whole or not at all.

A result is written under a hidden name in the same folder (.NAME.partial-PID-xxxxxxxx), flushed to the disk, then
renamed. A process killed at any moment leaves the earlier result as it was. The next publish of the same name removes
its remains.
"""

import errno
import json
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.errors import InputError, RunError
from stages.files.leftovers import recover, remove, sibling
from stages.files.os_errors import OUT_OF_SPACE, write_failure, writing
from stages.files.swap_paths import exchange

DONE = "manifest.json"  # written last, so a folder that holds it is a complete result
HINT = "name another output with -o"


@contextmanager
def publish(path: Path) -> Iterator[Path]:
    """Yield a hidden path beside `path`. The file or folder that the body writes there becomes `path` on success.

    Nothing exists at the yielded path yet. Write a file there, or files below it (the writers in stages/files create
    parent folders). If the body raises, its files are removed and `path` stays as it was. A file can replace only a
    file, and a folder only a folder. Raises InputError before the body runs when `path` cannot be written, and RunError
    when the disk is full. Raises InputError instead of replacing a folder that is not a result (no manifest.json) and
    has entries that the new one lacks.
    """
    target = check_writable(path)
    partial = sibling(target, "partial")
    with writing(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        recover(target)
        partial.touch(exist_ok=False)  # if no file can be created here, fail now and not after the work
        partial.unlink()
    try:
        try:
            yield partial
        except OSError as error:
            if error.errno in OUT_OF_SPACE:
                raise write_failure(path, error) from error
            raise
        if not os.path.lexists(partial):
            hint = "report this: a stage should not end without a result"
            raise RunError(f"cannot write {path}", "the run produced nothing", hint)
        with writing(path):
            flush(partial)
            _replace(partial, target)
            _flush_entry(target.parent)
    finally:
        remove(partial)


def check_writable(path: Path) -> Path:
    """Resolve the links in `path`. Raises InputError when no result can be written there. Creates nothing."""
    what = f"cannot write {path}"
    try:
        target = Path(path).resolve()
        mode = target.stat().st_mode if target.exists() else None
        folder = target.parent
        while not folder.exists():
            folder = folder.parent
    except (OSError, RuntimeError, ValueError) as error:  # the name is too long, its links loop, or it holds a NUL
        raise InputError(what, getattr(error, "strerror", None) or str(error), HINT) from error
    if not target.name:
        raise InputError(what, "it is the root of the file system", HINT)
    if mode is not None and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(what, "it is neither a file nor a folder", HINT)
    if not folder.is_dir():
        raise InputError(what, f"{folder} is not a folder", HINT)
    # A folder that does not exist yet cannot refuse a name that is too long.
    if len(os.fsencode(target.name)) > os.pathconf(folder, "PC_NAME_MAX"):
        raise InputError(what, os.strerror(errno.ENAMETOOLONG), HINT)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(what, f"{folder} is not writable", HINT)
    return target


def write_json(path: Path, document: Any) -> None:
    """Publish a document as indented JSON. Floats keep all their digits.

    Raises ValueError on NaN or infinity, which JSON lacks; InputError or RunError when `path` cannot be written.
    """
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    with publish(path) as partial, writing(path):
        partial.write_text(text, encoding="utf-8")


def _replace(partial: Path, target: Path) -> None:
    """Move `partial` to `target`, over what exists there."""
    is_folder = partial.is_dir()
    require_replaceable(target, is_folder, {entry.name for entry in partial.iterdir()} if is_folder else ())
    if not target.exists():
        partial.rename(target)
    elif not is_folder:
        partial.replace(target)
    else:
        _replace_folder(partial, target)


def require_replaceable(target: Path, is_folder: bool, names: Collection[str] = ()) -> None:
    """Raise InputError if a new result may not replace `target`, so that `-o ~/photos` does not delete photographs.

    is_folder: whether the new result is a folder.  names: the entries of that folder.
    """
    if target.exists() and target.is_dir() != is_folder:
        why = f"a {'file' if is_folder else 'folder'} is in the way"
        raise InputError(f"cannot write {target}", why, f"remove it or {HINT}")
    unknown = {entry.name for entry in target.iterdir()} - set(names) if is_folder and target.exists() else set[str]()
    if unknown and not (target / DONE).exists():
        why = f"the folder holds {min(unknown)} and no {DONE}, so it is not an earlier result"
        raise InputError(f"cannot write {target}", why, "name a new folder with -o")


def _replace_folder(partial: Path, target: Path) -> None:
    if exchange(partial, target):  # the earlier result is now at `partial`, and `publish` removes it
        return
    aside = sibling(target, "aside")
    target.rename(aside)
    try:
        partial.rename(target)
    except OSError:
        aside.rename(target)
        raise
    remove(aside)


def flush(path: Path) -> None:
    """fsync a file, or a folder with everything below it."""
    if path.is_dir():
        for folder, _, names in os.walk(path):
            for name in names:
                _flush_entry(Path(folder, name))
            _flush_entry(Path(folder))
    else:
        _flush_entry(path)


def _flush_entry(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot flush a folder
            raise
    finally:
        os.close(descriptor)
