"""Compiles the CPU renderer into the package; everything else is in pyproject.toml.

Without a compiler the install still succeeds: the renderer then compiles at first use, or falls back to torch.
"""

import importlib.util
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py


class BuildKernels(build_py):
    """Put one library per instruction set beside kernel.cpp. Not for editable installs, where the source may change."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        # By path: importing the package would import torch, which an isolated build does not have.
        spec = importlib.util.spec_from_file_location(
            "kernel_build", Path(__file__).with_name("stages") / "splat" / "build.py"
        )
        assert spec is not None
        assert spec.loader is not None
        kernel = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(kernel)
        folder = Path(self.build_lib) / "stages" / "splat"
        for variant in kernel.variants():
            try:
                kernel.compile_variant(folder / f"_kernel_{variant}.so", variant)
            except kernel.CompileError as error:
                self.warn(f"the renderer is not compiled for x86-64-{variant}: {str(error).splitlines()[0]}")


class PlatformDistribution(Distribution):
    """A wheel with compiled libraries is for one platform."""

    def has_ext_modules(self) -> bool:
        return True


setup(cmdclass={"build_py": BuildKernels}, distclass=PlatformDistribution)
