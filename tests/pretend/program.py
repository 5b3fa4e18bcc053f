"""Runs pytest on a machine that seems to have CUDA: python tests/pretend/program.py GUARD ARGUMENTS..."""

import ctypes
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    ctypes.CDLL(sys.argv[1], ctypes.RTLD_GLOBAL)  # before torch asks for its CUDA hooks

    import pytest

    from tests.pretend.device import install

    install()
    sys.exit(pytest.main(sys.argv[2:]))
