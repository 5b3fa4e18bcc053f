"""How the C library keeps memory that torch has freed.

glibc gives a large block back to the system at once and has the next one filled with zeros, page by page. Networks on a CPU ask for the
same large blocks over and over: on a virtual machine half of the time of `generate` went into that.
"""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h
NEVER, PAD = -1, 64 << 20


def keep_freed_memory() -> None:
    """Let this process use freed memory again instead of giving it back. For glibc; elsewhere nothing happens."""
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, NEVER)
    libc.mallopt(M_TOP_PAD, PAD)
