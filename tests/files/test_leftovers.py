import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stages.files import leftovers
from stages.files.publish import publish


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too, with its text."""
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def publish_folder(path: Path, **files: str) -> None:
    with publish(path) as partial:
        partial.mkdir()
        for name, text in files.items():
            (partial / f"{name}.json").write_text(text)


def run(script: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


# Each kills itself with SIGKILL at one moment of replacing a result.
KILLED = """
import os, signal, sys
from pathlib import Path
from stages.files import publish as module
from stages.files.publish import publish
moment, out = sys.argv[1], Path(sys.argv[2])

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if moment == "flush":
    module.flush = die
if moment == "replace":
    module._replace_folder = die
if moment in ("moved aside", "before cleaning"):
    module.exchange = lambda first, second: False
if moment == "moved aside":
    rename = Path.rename
    def second(self, target):
        return die() if ".partial-" in self.name else rename(self, target)
    Path.rename = second
if moment in ("before cleaning", "after exchange"):
    module.remove = die
with publish(out) as partial:
    partial.mkdir()
    (partial / "manifest.json").write_text("new")
    if moment == "body":
        die()
"""


@pytest.mark.parametrize("moment", ["body", "flush", "replace", "moved aside", "before cleaning", "after exchange"])
def test_killed_at_any_moment_then_recovered(tmp_path: Path, moment: str) -> None:
    """There is an earlier or a new result, at the latest when the next publish begins, and in the end nothing else."""
    out = tmp_path / "out"
    publish_folder(out, manifest="old")
    assert run(KILLED, Path(moment), out).returncode == -signal.SIGKILL
    expected = "new" if moment in ("before cleaning", "after exchange") else "old"
    if moment != "moved aside":
        assert (out / "manifest.json").read_text() == expected
    assert len(list(tmp_path.iterdir())) > 1
    with pytest.raises(ValueError, match="stop"), publish(out):
        raise ValueError("stop")
    assert tree(tmp_path) == {"out/manifest.json": expected}
    publish_folder(out, manifest="newest")
    assert tree(tmp_path) == {"out/manifest.json": "newest"}


def test_leaves_the_work_of_running_processes_alone(tmp_path: Path) -> None:
    """A running process keeps its files, and so does a name that only looks alike. Those of a dead process go."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = {
        "running": f".out.partial-{os.getppid()}-00000000",
        "ours": f".out.partial-{os.getpid()}-00000001",
        "other": f".out.mp4.partial-{dead.pid}-00000002",
        "dead": f".out.partial-{dead.pid}-00000003",
        "namesake": f".out.partial-{os.getpid()}-00000004",
    }
    for name in names.values():
        (tmp_path / name).write_text("")
    os.utime(tmp_path / names["namesake"], (1, 1))
    with publish(tmp_path / "out") as partial:
        partial.write_text("new")
    assert {path.name for path in tmp_path.iterdir()} == {"out", names["running"], names["ours"], names["other"]}


def test_recover_prefers_what_is_published(tmp_path: Path) -> None:
    (tmp_path / ".out.aside-999999999-00000000").write_text("old")
    (tmp_path / "out").write_text("new")
    leftovers.recover(tmp_path / "out")
    assert tree(tmp_path) == {"out": "new"}


def test_full_disk_for_real(tmp_path: Path) -> None:
    """A process that may write files of 10 kB only."""
    script = """
import resource, signal, sys
from pathlib import Path
from stages.errors import RunError
from stages.files.publish import publish
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    with publish(Path(sys.argv[1])) as partial:
        partial.write_bytes(bytes(100_000))
except RunError as error:
    sys.exit(error.what)
"""
    done = run(script, tmp_path / "out")
    assert done.returncode == 1
    assert "cannot write" in done.stderr
    assert not list(tmp_path.iterdir())
