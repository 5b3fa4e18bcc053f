"""The kill campaign: SIGKILL at random moments of every command, and the same command afterwards: make kill.

    python -m tests.tools.kill --count 200 --seed 0

After each kill the same command must end well, leave what an undisturbed run leaves, and nothing else. In a quarter of
the trials two processes run the command into one place at once, and one of them is killed.

This process only imports the program, and forks a child for every run, so that a run takes a fraction of a second. The
prior is that of tests/cli/program.py.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # a child that is forked from a process with OpenMP threads would hang

import argparse
import hashlib
import importlib
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.cli.photographs import write_photographs
from tests.cli.program import replace_prior
from tests.distill.tiny import RECIPE, write_shards
from videoscene_cli.app import run

# What a child would otherwise import again and again.
PRELOADED = (
    "stages.pipeline",
    "stages.reconstruct.presentation",
    "stages.prior.pose",
    "kornia",
    "pycolmap",
    "stages.distill.phases",
)
VOLATILE = ("created", "seconds", "peak_memory_bytes")  # keys of a manifest that differ from run to run
SIZE = ("--size", "64")


def commands(place: Path) -> dict[str, list[str]]:
    """The command lines. All write into the folder `place`, where copies of their inputs lie."""
    pair, scene, short = [str(place / "room_0.png"), str(place / "room_1.png")], str(place / "scene"), ["--frames", "3"]
    lines = {
        "prior": ["prior", *pair, "-o", str(place / "new"), *SIZE],
        "render": ["render", scene, "-o", str(place / "new"), *short],
        "generate": ["generate", *pair, "-o", str(place / "out" / "o.mp4"), *SIZE, *short],
        "generate in a folder": ["generate", *pair, "-o", str(place / "new"), *SIZE, *short, "--student", "none"],
        "reconstruct": ["reconstruct", scene, "--steps", "4", "--gaussians", "2000", "--export", "html"],
        "evaluate": ["evaluate", scene],
        "distill": [
            "distill",
            "-o",
            str(place / "run"),
            "--config",
            str(place / "recipe.yaml"),
            "--clips",
            str(place / "clips"),
        ],
    }
    return {name: [*line, "--device", "cpu", "-q"] for name, line in lines.items()}


def fork(work: Callable[[], int]) -> int:
    """Do `work` in a child, whose exit code is what it returns. Returns the child's process id."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        code = work()
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """Wait for a child. Returns its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def make_inputs(folder: Path) -> int:
    """Write the inputs of all commands. Run it in a child, for it computes."""
    pair = map(str, write_photographs(folder))
    write_shards(folder / "clips")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    return run(["generate", *pair, "-o", str(folder / "scene"), *SIZE, "--frames", "3", "--student", "none", "-q"])


def fresh(inputs: Path, place: Path) -> None:
    """Put copies of the inputs into `place`, and nothing else."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(inputs, place)


def digests(place: Path) -> dict[str, str]:
    """A hash of every file below a folder, of what does not differ from run to run."""
    return {str(path.relative_to(place)): _digest(path) for path in sorted(place.rglob("*")) if path.is_file()}


def _digest(path: Path) -> str:
    if path.name == "log.jsonl":
        return ""  # it holds times
    data = path.read_bytes()
    if path.name.endswith(("manifest.json", ".mp4.json")):
        manifest: dict[str, Any] = json.loads(data)
        outputs = [output for output in manifest.get("outputs", []) if output["path"] != "log.jsonl"]
        kept = {key: value for key, value in manifest.items() if key not in VOLATILE} | {"outputs": outputs}
        data = json.dumps(kept, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()


def trial(line: list[str], seconds: float, two: bool, generator: random.Random) -> str | None:
    """Start a command once or twice at once, kill one at a random moment, run it again. Returns a fault, or None."""
    children = [fork(lambda: run(line)) for _ in range(1 + two)]
    time.sleep(generator.uniform(0, 1.1 * seconds * len(children)))
    victim = children.pop(generator.randrange(len(children)))
    os.kill(victim, signal.SIGKILL)
    ended(victim)
    other = [ended(child) for child in children]
    code = ended(fork(lambda: run(line)))
    return None if code == 0 else f"exit code {code} after the kill (the process beside it ended with {other})"


def main() -> int:
    """Run the campaign. Returns 1 when something went wrong."""
    parser = argparse.ArgumentParser(description="Kill every command at random moments.")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name in PRELOADED:
        importlib.import_module(name)
    replace_prior()
    generator, faults, killed = random.Random(options.seed), 0, Counter[str]()
    with tempfile.TemporaryDirectory() as temporary:
        inputs, place = Path(temporary) / "inputs", Path(temporary) / "place"
        inputs.mkdir()
        # The scene names its photographs, which must lie where the copies will lie.
        place.mkdir()
        assert ended(fork(lambda: make_inputs(place))) == 0
        shutil.copytree(place, inputs, dirs_exist_ok=True)
        undisturbed: dict[str, tuple[float, dict[str, str]]] = {}
        lines = commands(place)
        for name, line in lines.items():
            fresh(inputs, place)
            start = time.perf_counter()
            code = ended(fork(lambda line=line: run(line)))  # type: ignore[misc]
            assert code == 0, f"{name} ends with {code} when nobody kills it"
            undisturbed[name] = time.perf_counter() - start, digests(place)
        for number in range(options.count):
            name = list(lines)[number % len(lines)]
            fresh(inputs, place)
            seconds, wanted = undisturbed[name]
            fault, found = trial(lines[name], seconds, number // len(lines) % 4 == 3, generator), digests(place)
            differing = sorted(path for path in {*wanted, *found} if wanted.get(path) != found.get(path))
            fault = fault or (f"{', '.join(differing[:5])} differ from the undisturbed result" if differing else None)
            killed[name] += 1
            faults += fault is not None
            if fault:
                print(f"FAULT {number} {name}: {fault}", flush=True)
    print(f"{sum(killed.values())} kills, {faults} faults: {', '.join(f'{name} {n}' for name, n in killed.items())}")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
