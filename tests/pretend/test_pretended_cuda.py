"""The whole program on a CUDA device that is not there: device.py is the device, on_cuda.py is what runs on it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.cpp_extension import include_paths

HERE = Path(__file__).parent
TIME_LIMIT = 1800  # seconds


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled guard.cpp."""
    compiler, library = shutil.which("g++"), tmp_path_factory.mktemp("guard") / "guard.so"
    if compiler is None:
        pytest.skip("needs g++")
    torch_libraries = Path(torch.__file__).parent / "lib"
    flags = ["-std=c++20", "-shared", "-fPIC", "-O0", *(f"-I{path}" for path in include_paths())]
    linked = [f"-L{torch_libraries}", f"-Wl,-rpath,{torch_libraries}", "-ltorch_cpu", "-lc10"]
    subprocess.run([compiler, *flags, str(HERE / "guard.cpp"), "-o", str(library), *linked], check=True)
    return library


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real CUDA device")
def test_the_program_runs_on_cuda(guard: Path) -> None:
    arguments = ["-p", "no:cacheprovider", "--tb=short", str(HERE / "on_cuda.py")]
    command = [sys.executable, str(HERE / "program.py"), str(guard), *arguments]
    ended = subprocess.run(
        command, cwd=HERE.parents[1], capture_output=True, text=True, timeout=TIME_LIMIT, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
