"""Memory that torch frees is used again."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from videoscene_cli.models.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
import torch
for _ in range(20):  # until the C library has a block that is large enough
    torch.ones(64 << 20, dtype=torch.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.ones(64 << 20, dtype=torch.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_freed_block_is_not_fetched_from_the_system_again() -> None:
    assert faults("keep") < faults("leave") / 10
