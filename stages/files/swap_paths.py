"""Swaps two paths in one step, so that both exist at every moment (Linux system call renameat2)."""

import ctypes
import os
import sys
from pathlib import Path

AT_FDCWD = -100  # Linux <fcntl.h>: paths are relative to the working folder
RENAME_EXCHANGE = 2  # Linux <linux/fs.h>


def exchange(first: Path, second: Path) -> bool:
    """Swap two files or folders. Returns False, and changes nothing, where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    return bool(libc.renameat2(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0)
