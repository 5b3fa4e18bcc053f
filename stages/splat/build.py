"""Finds the compiled kernel, or compiles it.

Only the standard library is imported here: the packaging hook loads this file by its path, before torch is installed.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).with_name("kernel.cpp")  # includes the headers beside it
DEFAULT_CACHE = Path("~/.cache/videoscene")

# -ffast-math must stay out: gcc before 13 then switches the whole process to flush-to-zero, and the kernel needs NaN.
FLAGS = ("-O3", "-std=c++17", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi")
COMPILERS = ("c++", "g++", "clang++")
# OpenMP first: the kernel then shares torch's threads. Without it the source starts threads of its own.
THREADING = (("-fopenmp",), ("-pthread",))

# The x86-64 levels of the psABI, best first, and the CPU flags each one needs beyond the one below it.
LEVELS = {
    "v4": ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
    "v3": ("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"),
    "v2": ("cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"),
}


class CompileError(RuntimeError):
    """No C++ compiler was found, or none could compile the kernel."""


def variants() -> tuple[str, ...]:
    """Instruction-set levels a wheel for this machine should carry: three on x86-64, none elsewhere (compiled at first use there)."""
    return tuple(LEVELS) if platform.machine().lower() in ("x86_64", "amd64") else ()


def compile_variant(output: Path, variant: str) -> None:
    """Compile the kernel for one level of `variants()` into the shared library `output`. Raises CompileError."""
    _compile(output, (f"-march=x86-64-{variant}",))


def find_or_compile(cache: Path | None = None, double: bool = False) -> Path:
    """The shared library for this CPU.

    cache: folder for compiled kernels, by default ~/.cache/videoscene; a private temporary folder where it cannot be written.
    double: the float64 kernel, which exists for tests and is never packaged.
    The order is: packaged beside this file, cached, compiled now (some 10 s). Raises CompileError.
    """
    if not double:
        packaged = _packaged(SOURCE.parent, cpu_flags())
        if packaged is not None:
            return packaged
    flags = (*native_flags(), *(("-DREAL=double",) if double else ()))
    folder = _writable(cache if cache is not None else DEFAULT_CACHE)
    library = folder / f"splat-{_key(flags)}.so"
    with _locked(library.with_suffix(".lock")):
        if not library.exists():
            _compile(library, flags)
    return library


def native_flags() -> tuple[str, ...]:
    """The option that lets the compiler use every instruction of this CPU; on ARM, not every Clang understands -march=native.

    On other architectures compilers share no such option, and the kernel is compiled for all CPUs of the architecture.
    """
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):
        return ("-march=native",)
    return ("-mcpu=native",) if machine in ("aarch64", "arm64") else ()


def cpu_flags() -> frozenset[str]:
    """Instruction sets the CPU reports (Linux on x86 or ARM; empty elsewhere)."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return frozenset(line.partition(":")[2].split())
    return frozenset()


def _packaged(folder: Path, flags: frozenset[str]) -> Path | None:
    """The best packaged library that the CPU can run."""
    runnable = None
    needed: set[str] = set()
    for level, more in reversed(LEVELS.items()):
        needed.update(more)
        library = folder / f"_kernel_{level}.so"
        if needed <= flags and library.exists():
            runnable = library
    return runnable


def _key(flags: tuple[str, ...]) -> str:
    """Names what the binary depends on: source, flags, compiler and CPU."""
    digest = hashlib.sha256()
    for source in (SOURCE, *sorted(SOURCE.parent.glob("*.h"))):
        digest.update(source.read_bytes() + b"\0")
    for part in (*FLAGS, *flags, _compiler_version(), platform.machine(), *sorted(cpu_flags())):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:24]


def _compilers() -> list[str]:
    return [path for name in COMPILERS if (path := shutil.which(name)) is not None]


def _compiler_version() -> str:
    found = _compilers()
    if not found:
        raise CompileError("no C++ compiler found (looked for " + ", ".join(COMPILERS) + ")")
    return subprocess.run([found[0], "--version"], capture_output=True, text=True, check=False).stdout


def _compile(output: Path, flags: tuple[str, ...]) -> None:
    """Compile to a temporary name and rename, so that a reader never sees half a library."""
    errors = "no C++ compiler found (looked for " + ", ".join(COMPILERS) + ")"
    handle, temporary = tempfile.mkstemp(dir=output.parent, prefix=output.stem, suffix=".part")
    os.close(handle)
    try:
        for compiler in _compilers():
            for threading in THREADING:
                command = [compiler, *FLAGS, *flags, *threading, str(SOURCE), "-o", temporary]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode == 0:
                    os.chmod(temporary, 0o755)
                    os.replace(temporary, output)
                    return
                errors = done.stderr.strip() or f"{compiler} ended with code {done.returncode}"
        raise CompileError(errors)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _writable(folder: Path) -> Path:
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: a user without a home, as in a container
        folder = folder.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    temporary = Path(tempfile.mkdtemp(prefix="videoscene-"))
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return temporary


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock, so that processes started together compile once."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with open(path, "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
