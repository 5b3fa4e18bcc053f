"""The fuzz campaign: changed inputs of every kind through the program, and what must hold of each run: make fuzz.

    python -m tests.tools.fuzz --count 2000 --seed 0 -o out/fuzz

A run may end well or with an error of three lines. It is a fault if it ends in an unexpected failure or a crash, takes
more than 20 s of a processor or more than 2 GB above the valid input, writes outside its result, leaves something
behind after an error, or ends with exit code 0 and a result that cannot be read. Inputs of faults are kept in -o.

The prior is that of tests/cli/program.py, so that a run takes a fraction of a second. Runs share one process. If it
crashes, a new one goes on with the next input.
"""

import argparse
import contextlib
import faulthandler
import io
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

from stages.errors import StageError
from tests.cli.program import fake_prior
from tests.tools.fuzz_targets import Target, make_targets
from tests.tools.mutations import mutated
from videoscene_cli.app import run
from videoscene_cli.terminal.report import ExitCode

MOST_SECONDS, MOST_BYTES = 20.0, 2 * 10**9
HANGS = 600.0  # seconds of the clock after which a process counts as one that hangs, and is ended


def processor_seconds() -> float:
    """What this process and its finished children have computed, which other programs do not change."""
    return sum(os.times()[:4])


def peak(reset: bool = False) -> int:
    """The largest memory of this process since the last reset, bytes. Linux only; elsewhere 0."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    if reset:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder, with what would change if it were written."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


def attempt(target: Target, data: bytes, folder: Path) -> str | None:
    """Run one input. Returns what is wrong, or None."""
    valid, out = target.file.read_bytes(), folder / "OUT"
    target.file.write_bytes(data)
    before, start, memory = listing(folder), processor_seconds(), peak(reset=True)
    faulthandler.dump_traceback_later(HANGS, exit=True, file=sys.__stderr__)
    try:
        fault = (_read(target) if target.read else None) or (_command(target, data, out) if target.arguments else None)
    finally:
        faulthandler.cancel_dump_traceback_later()
        seconds, used = processor_seconds() - start, peak() - memory
        after = {name: entry for name, entry in listing(folder).items() if not name.startswith("OUT")}
        target.file.write_bytes(valid)
        for path in folder.glob("OUT*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if fault is None and after != before:
        fault = f"it wrote {sorted(set(after.items()) ^ set(before.items()))[0][0]}"
    if fault is None and seconds > MOST_SECONDS:
        fault = f"it took {seconds:.0f} s"
    if fault is None and used > MOST_BYTES:
        fault = f"it took {used / 1e9:.1f} GB more"
    return fault


def _read(target: Target) -> str | None:
    assert target.read is not None
    try:
        target.read(target.file)
    except StageError:
        return None
    except Exception:
        return traceback.format_exc()
    return None


def _command(target: Target, data: bytes, out: Path) -> str | None:
    """Run the command line, and look at its exit code, its messages and its result."""
    made = out.with_suffix(".mp4") if "OUT.mp4" in target.arguments else out
    names = {"OUT": str(out), "OUT.mp4": str(made), "STDIN": "-"}
    stdout, stderr = io.StringIO(), io.StringIO()
    stdin = io.TextIOWrapper(io.BytesIO(data if "STDIN" in target.arguments else b""))
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr), mock.patch.object(sys, "stdin", stdin):
        code = run([names.get(argument, argument) for argument in target.arguments])
    error = stderr.getvalue()
    if code not in (ExitCode.DONE, ExitCode.FAILED, ExitCode.USAGE, ExitCode.WEIGHTS):
        return f"exit code {code}: {error}"
    if "unexpected failure" in error or "Traceback" in error:
        return error
    if code == ExitCode.DONE:
        try:
            broken = None if "--dry-run" in target.arguments or target.check is None else target.check(made)
        except StageError as failure:
            return f"exit code 0 with a broken result: {failure}"
        return None if stdout.getvalue() or broken else "exit code 0 without a result"
    if [line[:6] for line in error.splitlines()[-3:]] != ["error:", "  why:", "  try:"]:
        return f"exit code {code} without three lines: {error}"
    return f"exit code {code} left {made.name} behind" if made.exists() else None


def campaign(count: int, seed: int, folder: Path, first: int, told: Any) -> None:
    """Run the inputs first to count - 1. told: a queue that gets (number, target, fault or None) of each."""
    faulthandler.enable()
    generator = random.Random()
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as replaced:
        for name, function in fake_prior().items():
            replaced.enter_context(mock.patch(name, function))
        os.chdir(temporary)
        targets = make_targets(Path(temporary) / "inputs")
        for number in range(first, count):
            target = targets[number % len(targets)]
            generator.seed(f"{seed}-{number}")
            data = mutated(target.file.read_bytes(), target.is_text, generator)
            kept = folder / f"{number:05d}-{target.name}{target.file.suffix}"
            kept.write_bytes(data)
            told.put((number, target.name, "started"))
            fault = attempt(target, data, Path(temporary) / "inputs")
            if fault is None:
                kept.unlink()
            told.put((number, target.name, fault))


def main() -> int:
    """Run the campaign. Returns 1 when there was a fault."""
    parser = argparse.ArgumentParser(description="Run changed inputs of every kind through the program.")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, default=Path("out/fuzz"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    context, faults, ran, number = multiprocessing.get_context("spawn"), 0, Counter[str](), 0
    while number < options.count:
        told = context.Queue()
        process = context.Process(
            target=campaign, args=(options.count, options.seed, options.out.resolve(), number, told)
        )
        process.start()
        number, fault = _follow(process, told, number, ran)
        faults += fault
    kinds = ", ".join(f"{name} {count}" for name, count in sorted(ran.items()))
    print(f"{sum(ran.values())} inputs ran, {faults} faults: {kinds}")
    return int(faults > 0)


def _follow(process: Any, told: Any, number: int, ran: Counter[str]) -> tuple[int, int]:
    """Print the faults of one process until it ends. Returns the number of the next input and the number of faults."""
    import queue

    faults, running = 0, ""
    # The queue may still hold reports when the process has ended.
    while process.is_alive() or not told.empty():
        try:
            number, name, fault = told.get(timeout=1)
        except queue.Empty:
            continue
        except (EOFError, OSError):  # the process was killed while it wrote
            break
        if fault == "started":
            running = name
            continue
        ran[name] += 1
        running, number = "", number + 1
        if fault is not None:
            faults += 1
            print(f"FAULT {number - 1} {name}: {fault.strip()}\n", flush=True)
    process.join()
    if not running and process.exitcode:
        raise SystemExit(f"the campaign itself failed before input {number}, exit code {process.exitcode}")
    if running:
        print(f"FAULT {number} {running}: the process crashed, exit code {process.exitcode}\n", flush=True)
        return number + 1, faults + 1
    return number, faults


if __name__ == "__main__":
    sys.exit(main())
