"""Finds the compiled kernel, or compiles it.

Only the standard library is imported here, because setup.py loads this file by its path before torch is installed.
"""

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

SOURCE = Path(__file__).with_name("kernel.cpp")  # it includes the headers beside it
DEFAULT_CACHE = Path("~/.cache/videoscene")  # folder of compiled kernels

# Compiler options. -ffast-math is not among them: with it gcc before 13 makes the whole process flush small numbers to
# zero, and the kernel could not detect NaN.
FLAGS = ("-O3", "-std=c++17", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi")
COMPILERS = ("c++", "g++", "clang++")  # tried in this order
# Compiler options for threads, tried in this order. With OpenMP the kernel uses torch's threads, otherwise its own.
THREADING = (("-fopenmp",), ("-pthread",))

# The x86-64 levels of the psABI, best first, and the CPU flags that each needs in addition to those of the level below.
LEVELS = {
    "v4": ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
    "v3": ("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"),
    "v2": ("cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"),
}


class CompileError(RuntimeError):
    """There is no C++ compiler, or none can compile the kernel."""


def variants() -> tuple[str, ...]:
    """The levels that a wheel for this machine contains: three on x86-64, elsewhere none."""
    return tuple(LEVELS) if platform.machine().lower() in ("x86_64", "amd64") else ()


def compile_variant(output: Path, variant: str) -> None:
    """Compile the kernel for a level of `variants()` into the shared library `output`. Raises CompileError."""
    _compile(output, (f"-march=x86-64-{variant}",))


def find_or_compile(cache: Path | None = None, double: bool = False) -> Path:
    """The shared library for this CPU: the packaged one, else a cached one, else one compiled now, in about 10 s.

    cache: folder of compiled kernels, by default ~/.cache/videoscene, or a temporary one if that cannot be written.
    double: the float64 kernel, which is for tests and never packaged.  Raises CompileError.
    """
    if not double:
        packaged = _packaged(SOURCE.parent, cpu_flags())
        if packaged is not None:
            return packaged
    flags = (*native_flags(), *(("-DREAL=double",) if double else ()))
    folder = writable(cache if cache is not None else DEFAULT_CACHE)
    library = folder / f"splat-{_key(flags)}.so"
    with locked(library.with_suffix(".lock")):
        if not library.exists():
            _compile(library, flags)
    return library


def native_flags() -> tuple[str, ...]:
    """The compiler option that allows every instruction of this CPU.

    On ARM it is -mcpu=native, because not every Clang knows -march=native there. On other architectures compilers have
    no common option, and the kernel is compiled for all CPUs of the architecture.
    """
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):
        return ("-march=native",)
    return ("-mcpu=native",) if machine in ("aarch64", "arm64") else ()


def cpu_flags() -> frozenset[str]:
    """Instruction sets that the CPU reports. Empty unless on Linux on x86 or ARM."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return frozenset(line.partition(":")[2].split())
    return frozenset()


def _packaged(folder: Path, flags: frozenset[str]) -> Path | None:
    """The best packaged library that the CPU can run, or None."""
    runnable = None
    needed: set[str] = set()
    for level, more in reversed(LEVELS.items()):
        needed.update(more)
        library = folder / f"_kernel_{level}.so"
        if needed <= flags and library.exists():
            runnable = library
    return runnable


def _key(flags: tuple[str, ...]) -> str:
    """A hash of all that the binary depends on: source, flags, compiler and CPU."""
    digest = hashlib.sha256()
    for source in (SOURCE, *sorted(SOURCE.parent.glob("*.h"))):
        digest.update(source.read_bytes() + b"\0")
    for part in (*FLAGS, *flags, _compiler_version(), platform.machine(), *sorted(cpu_flags())):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:24]


def _compilers() -> list[str]:
    return [path for name in COMPILERS if (path := shutil.which(name)) is not None]


def _compiler_version() -> str:
    compilers = _compilers()
    if not compilers:
        raise CompileError("no C++ compiler found (looked for " + ", ".join(COMPILERS) + ")")
    return subprocess.run([compilers[0], "--version"], capture_output=True, text=True, check=False).stdout


def _compile(output: Path, flags: tuple[str, ...]) -> None:
    """Compile to a temporary name and rename it, so that no other process loads half a library."""
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


def writable(folder: Path) -> Path:
    """The folder if it can be written, else a temporary folder that is removed at exit."""
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError is for a user without a home, as in a container
        folder = folder.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    temporary = Path(tempfile.mkdtemp(prefix="videoscene-"))
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return temporary


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock, so that processes that start together compile only once."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with open(path, "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
