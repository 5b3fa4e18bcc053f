"""The recorded answer is given by the reference, and by the kernel on this processor and on an emulated ARM."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

from stages.splat import build
from tests.splat.recorded import RECORD, compile_driver, run_driver, truth

ARM = ("aarch64-linux-gnu-g++", "qemu-aarch64")


@pytest.fixture(scope="module")
def recorded() -> dict[str, Tensor]:
    return load_file(RECORD)


def compare(found: dict[str, Tensor], recorded: dict[str, Tensor], limit: float) -> None:
    """Every array within `limit` of the recorded one, relative to its largest number."""
    errors = {
        name: float((value - recorded[name]).abs().max() / recorded[name].abs().max()) for name, value in found.items()
    }
    assert len(errors) == 8
    assert {name: error for name, error in errors.items() if not error < limit} == {}


def test_the_reference_gives_the_recorded_answer(recorded: dict[str, Tensor]) -> None:
    compare(truth(recorded), recorded, 1e-9)


@pytest.mark.skipif(not build._compilers(), reason="needs a C++ compiler")
def test_the_kernel_gives_it_on_this_processor(recorded: dict[str, Tensor], tmp_path: Path) -> None:
    compile_driver(tmp_path / "driver", [build._compilers()[0], "-O0"])
    compare(run_driver([tmp_path / "driver"], recorded), recorded, 1e-5)


@pytest.mark.everywhere
@pytest.mark.skipif(
    not all(map(shutil.which, ARM)), reason=f"needs {' and '.join(ARM)} (Debian: g++-aarch64-linux-gnu, qemu-user)"
)
@pytest.mark.parametrize(("precision", "limit"), [("float", 1e-5), ("double", 1e-9)])
def test_the_kernel_gives_it_on_arm(recorded: dict[str, Tensor], tmp_path: Path, precision: str, limit: float) -> None:
    compile_driver(tmp_path / "driver", [ARM[0], "-static", f"-DREAL={precision}"])
    compare(run_driver([ARM[1], tmp_path / "driver"], recorded), recorded, limit)
