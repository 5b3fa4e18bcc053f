"""Finding, compiling and caching the kernel, and doing without."""

import ctypes
import importlib.util
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from stages.splat import backend, build, cpu, dispatch, fallback
from stages.splat.dispatch import rasterization
from tests.splat.scenes import errors, random_scene

needs_compiler = pytest.mark.skipif(not build._compilers(), reason="needs a C++ compiler")


@pytest.fixture
def tiny_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    source = tmp_path / "kernel.cpp"
    source.write_text('extern "C" int answer() { return 42; }\n')
    monkeypatch.setattr(build, "SOURCE", source)
    return source


@needs_compiler
def test_compiles_once_for_each_source(tiny_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    library = build.find_or_compile(cache)
    assert ctypes.CDLL(str(library)).answer() == 42
    assert sorted(p.suffix for p in cache.iterdir()) == [".lock", ".so"], "nothing half-made is left"

    with monkeypatch.context() as patch:
        patch.setattr(build, "_compile", lambda *_: pytest.fail("compiled again"))
        assert build.find_or_compile(cache) == library
    tiny_source.write_text('extern "C" int answer() { return 43; }\n')
    assert ctypes.CDLL(str(build.find_or_compile(cache))).answer() == 43
    assert build.find_or_compile(cache, double=True) != build.find_or_compile(cache)
    tiny_source.with_name("part.h").write_text("")
    before = build.find_or_compile(cache)
    tiny_source.with_name("part.h").write_text("// another part\n")
    assert build.find_or_compile(cache) != before, "a header is part of the source"


@needs_compiler
def test_an_unwritable_cache_is_no_obstacle(tiny_source: Path, tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    library = build.find_or_compile(in_the_way / "cache")
    assert ctypes.CDLL(str(library)).answer() == 42


@needs_compiler
def test_a_user_without_a_home_is_no_obstacle(tiny_source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", fail)
    library = build.find_or_compile(double=True)
    assert ctypes.CDLL(str(library)).answer() == 42


@needs_compiler
def test_errors_of_the_compiler_are_told(tiny_source: Path, tmp_path: Path) -> None:
    tiny_source.write_text("int broken(")
    with pytest.raises(build.CompileError, match="error"):
        build.find_or_compile(tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.so"))
    assert not list((tmp_path / "cache").glob("*.part"))


def test_the_best_packaged_library_wins(tiny_source: Path) -> None:
    folder = tiny_source.parent
    flags = [flag for level in ("v2", "v3", "v4") for flag in build.LEVELS[level]]
    assert build._packaged(folder, frozenset(flags)) is None
    for level in build.LEVELS:
        (folder / f"_kernel_{level}.so").write_text("")
    best = [build._packaged(folder, frozenset(flags[:count])) for count in (0, 6, 15, len(flags))]
    assert [p and p.stem for p in best] == [None, "_kernel_v2", "_kernel_v3", "_kernel_v4"]
    without_v2 = frozenset(flags) - {"popcnt"}
    assert build._packaged(folder, without_v2) is None


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ("x86_64", "-march=native"),
        ("AMD64", "-march=native"),
        ("aarch64", "-mcpu=native"),
        ("arm64", "-mcpu=native"),
        ("riscv64", None),
    ],
)
def test_the_flag_for_this_cpu_is_the_one_its_compilers_know(
    tiny_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, expected: str | None
) -> None:
    """On ARM, Clang versions differ in -march=native; all know -mcpu=native."""
    seen: list[str] = []

    def noted(library: Path, flags: tuple[str, ...]) -> None:
        seen.extend(flag for flag in flags if flag.endswith("native"))

    monkeypatch.setattr(build.platform, "machine", lambda: machine)
    monkeypatch.setattr(build, "_compile", noted)
    build.find_or_compile(tmp_path / "cache")
    assert seen == ([] if expected is None else [expected])


def test_packaging_needs_only_the_standard_library() -> None:
    """setup.py loads build.py by path before torch is installed."""
    code = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("build", {str(Path(build.__file__))!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
assert callable(module.compile_variant) and isinstance(module.variants(), tuple)
assert "torch" not in sys.modules and "stages" not in sys.modules
"""
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)
    assert importlib.util.find_spec("torch") is not None


@needs_compiler
@pytest.mark.skipif(not build.variants(), reason="needs x86-64")
@pytest.mark.parametrize("level", ["v2", "v3", "v4"])
def test_every_packaged_level_is_correct(level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each level has vectors of another width, hence blocks of another shape. Not optimised: compiles in a second."""
    needed = {flag for name in ("v2", "v3", "v4") if name <= level for flag in build.LEVELS[name]}
    if not needed <= build.cpu_flags():
        pytest.skip(f"this CPU has no {level}")
    monkeypatch.setattr(build, "FLAGS", tuple(flag if flag != "-O3" else "-O0" for flag in build.FLAGS))
    library = tmp_path / f"_kernel_{level}.so"
    build.compile_variant(library, level)
    kernel = cpu.load(library, torch.float32)
    monkeypatch.setattr(cpu, "kernel", lambda dtype: kernel)
    found = errors(rasterization, random_scene())
    assert found["image"] < 1e-4, found
    assert max(found.values()) < 1e-3, found


def test_without_a_compiler_torch_renders_and_warns_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_compilers", list)
    monkeypatch.setattr(build, "_packaged", lambda *_: None)
    monkeypatch.setattr(build, "DEFAULT_CACHE", tmp_path)
    cpu.kernel.cache_clear()
    dispatch._implementation.cache_clear()
    try:
        arguments = random_scene(count=50, degree=0).arguments()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            first, second = (rasterization(**arguments)[0] for _ in range(2))
            assert backend("cpu") == "torch"
        assert len(caught) == 1
        assert "40 times slower" in str(caught[0].message)
        assert "no C++ compiler" in str(caught[0].message)
        assert torch.equal(first, second)
        assert dispatch._implementation(torch.float32) is fallback
    finally:
        dispatch._implementation.cache_clear()
