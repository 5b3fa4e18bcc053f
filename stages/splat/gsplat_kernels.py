"""Loads gsplat's kernels for CUDA once, or says why that fails.

The package gsplat holds the sources of its kernels. It compiles them at first use, in minutes, which needs the CUDA
toolkit, and loads them from torch's cache of extensions later.
"""

import contextlib
import importlib
import io
import warnings
from functools import cache

from stages.splat import build


@cache
def are_loaded() -> bool:
    """Load the kernels, which compiles them if necessary. Warns once if they are missing: why, and what that costs."""
    reason = _load()
    if reason is None:
        return True
    text = "Gaussians are rendered on the CPU: the same images, but slower, while networks stay on the GPU"
    hint = "install the CUDA toolkit of torch's CUDA version, with nvcc, and g++"
    warnings.warn(f"{text}; gsplat has no kernels ({reason}), {hint}", RuntimeWarning, stacklevel=3)
    return False


def _load() -> str | None:
    """Load the kernels. Returns None, or the reason why they are missing, in one line."""
    # gsplat deletes the folder of a build that is not finished, so only one process may compile.
    lock = build.writable(build.DEFAULT_CACHE) / "gsplat.lock"
    printed = io.StringIO()  # gsplat prints that it has no toolkit; the warning says so too
    try:
        with build.locked(lock), contextlib.redirect_stdout(printed):
            found = importlib.import_module("gsplat.cuda._backend")._C is not None
    except (ImportError, OSError, RuntimeError) as error:
        lines = str(error).strip().splitlines()
        return lines[0] if lines else type(error).__name__
    return None if found else "no nvcc was found"
