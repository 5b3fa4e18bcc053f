"""The standard streams of the process, which a daemon or a cron job may have closed."""

import os
import sys

STREAMS = {"stdin": "r", "stdout": "w", "stderr": "w"}  # mode of each stream, in the order of descriptors 0, 1 and 2


def open_standard_streams() -> None:
    """Open the null device in place of each stream that is closed, and let every file name pass through stdout.

    For a closed stream Python sets None in sys. The next file that is opened would then get its descriptor, and what a
    library prints would go into that file.
    """
    for descriptor, (name, mode) in enumerate(STREAMS.items()):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (open until the process ends)
    # A name becomes the bytes that it has on the disk again, whatever encoding the terminal is said to have.
    sys.stdout.reconfigure(  # type: ignore[union-attr]
        encoding=sys.getfilesystemencoding(), errors=sys.getfilesystemencodeerrors()
    )


def is_closed_stdout(stream: object) -> bool:
    """Whether a stream is the null device that replaced a closed stdout."""
    return getattr(stream, "name", None) == os.devnull
