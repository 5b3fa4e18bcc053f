"""Makes the C library keep memory that torch has freed.

glibc returns a large block to the system at once, and the system fills the next one with zeros, page by page. Networks
on a CPU ask for the same large blocks again and again. On a virtual machine this took half of the time of `generate`.
"""

import ctypes
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # numbers of glibc's parameters, from malloc.h
NEVER = -1  # trim threshold at which no memory is returned
PAD = 64 << 20  # bytes that are requested from the system at a time, in addition


def keep_freed_memory() -> None:
    """Let this process use freed memory again. Without glibc this does nothing."""
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, NEVER)
    libc.mallopt(M_TOP_PAD, PAD)
