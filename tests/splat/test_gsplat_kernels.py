"""gsplat's kernels: loaded once, asked for in words, and missed without harm."""

import fcntl
import importlib
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages.splat import backend, build, gsplat_kernels

Import = Callable[[str], Any]


@pytest.fixture
def gsplat_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Import], None]]:
    """Replace the import of gsplat's kernels."""
    monkeypatch.setattr(build, "DEFAULT_CACHE", tmp_path)
    monkeypatch.setattr(gsplat_kernels, "importlib", SimpleNamespace())
    gsplat_kernels.are_loaded.cache_clear()
    yield lambda function: setattr(gsplat_kernels.importlib, "import_module", function)
    gsplat_kernels.are_loaded.cache_clear()


def no_toolkit(name: str) -> Any:
    sys.stdout.write("gsplat: No CUDA toolkit found. gsplat will be disabled.")
    return SimpleNamespace(_C=None)


def broken_build(name: str) -> Any:
    raise RuntimeError("\nNinja is required to load C++ extensions\nand more")


def no_package(name: str) -> Any:
    raise ModuleNotFoundError("No module named 'gsplat'")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(no_toolkit, "no nvcc was found"), (broken_build, "Ninja is required"), (no_package, "No module named")],
)
def test_missing_kernels_are_told_once_with_the_reason(
    gsplat_says: Callable[[Import], None], capsys: pytest.CaptureFixture[str], answer: Import, reason: str
) -> None:
    gsplat_says(answer)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert [backend("cuda") for _ in range(3)] == [backend("cpu")] * 3
    (message,) = (str(warning.message) for warning in caught)
    assert reason in message
    assert "and more" not in message
    assert "nvcc" in message, "what to install"
    assert capsys.readouterr().out == ""


def test_kernels_are_loaded_once(gsplat_says: Callable[[Import], None]) -> None:
    asked = []
    gsplat_says(lambda name: (asked.append(name), SimpleNamespace(_C=object()))[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [backend("cuda") for _ in range(3)] == ["gsplat"] * 3
    assert asked == ["gsplat.cuda._backend"]
    assert importlib.util.find_spec(asked[0]) is not None, "gsplat has its kernels there"


def test_only_one_process_compiles(gsplat_says: Callable[[Import], None], tmp_path: Path) -> None:
    """gsplat deletes the folder of another process's build."""

    def compiling(name: str) -> Any:
        with open(tmp_path / "gsplat.lock", "w") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return SimpleNamespace(_C=object())

    gsplat_says(compiling)
    assert gsplat_kernels.are_loaded()
