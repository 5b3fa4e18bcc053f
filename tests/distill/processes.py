"""Starts a program in several processes, as torchrun does."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def start_processes(program: str, arguments: list[str], count: int) -> list[tuple[int, str]]:
    """Run Python code in `count` processes that find each other. Returns the exit code and messages of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = os.environ | {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            cwd=ROOT,
            env=shared | {"WORLD_SIZE": str(count), "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    messages = [process.communicate()[1] for process in started]
    return [(process.returncode, message) for process, message in zip(started, messages, strict=True)]
