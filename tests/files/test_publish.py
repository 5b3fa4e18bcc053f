import errno
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stages.errors import InputError, RunError
from stages.files import leftovers
from stages.files import publish as module
from stages.files.exchange import exchange
from stages.files.publish import check_writable, publish, read_json, sha256_file, write_json

REPOSITORY = Path(__file__).parents[2]


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too, with its text."""
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def publish_folder(path: Path, **files: str) -> None:
    with publish(path) as partial:
        partial.mkdir()
        for name, text in files.items():
            (partial / f"{name}.json").write_text(text)


def fail_midway(path: Path, error: BaseException) -> None:
    with publish(path) as partial:
        partial.mkdir()
        (partial / "half").write_text("half")
        raise error


@pytest.fixture(params=[True, False], ids=["exchange", "two renames"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once with the system's atomic swap, once as on systems without it."""
    if not request.param:
        monkeypatch.setattr(module, "exchange", lambda first, second: False)


def test_publishes_a_file_into_new_parents(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b" / "out.mp4"
    with publish(out) as partial:
        assert re.fullmatch(rf"\.out\.mp4\.partial-{os.getpid()}-[0-9a-f]{{8}}", partial.name)
        assert partial.parent == out.parent
        assert not partial.exists()
        partial.write_text("new")
        assert not out.exists()
    assert tree(tmp_path) == {"a/b/out.mp4": "new"}
    with publish(out) as partial:
        partial.write_text("newer")
    assert tree(tmp_path) == {"a/b/out.mp4": "newer"}


@pytest.mark.usefixtures("either_way")
def test_replaces_a_folder_whole(tmp_path: Path) -> None:
    publish_folder(tmp_path / "out", manifest="1", old="1")
    publish_folder(tmp_path / "out", manifest="2", new="2")
    assert tree(tmp_path) == {"out/manifest.json": "2", "out/new.json": "2"}


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt(), InputError("a", "b", "c")])
def test_failure_leaves_the_earlier_result_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    publish_folder(tmp_path / "out", manifest="1")
    with pytest.raises(type(error)):
        fail_midway(tmp_path / "out", error)
    assert tree(tmp_path) == {"out/manifest.json": "1"}


def test_nothing_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="produced nothing"), publish(tmp_path / "out"):
        pass
    assert not list(tmp_path.iterdir())


def test_does_not_replace_a_folder_that_is_no_result(tmp_path: Path) -> None:
    """-o ~/photos."""
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "holiday.jpg").write_text("precious")
    with pytest.raises(InputError, match=r"holiday\.jpg"):
        publish_folder(photos, manifest="1")
    assert tree(tmp_path) == {"photos/holiday.jpg": "precious"}
    (photos / "holiday.jpg").rename(photos / "manifest.json")
    publish_folder(photos, manifest="1")
    assert tree(tmp_path) == {"photos/manifest.json": "1"}


def test_does_not_replace_a_folder_by_a_file_or_the_reverse(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")
    with pytest.raises(InputError, match="a folder is in the way"), publish(tmp_path / "folder") as partial:
        partial.write_text("new")
    with pytest.raises(InputError, match="a file is in the way"):
        publish_folder(tmp_path / "file", manifest="1")
    assert tree(tmp_path) == {"file": "old"}


def test_follows_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "out").write_text("old")
    (tmp_path / "link").symlink_to("real/out")
    with publish(tmp_path / "link") as partial:
        partial.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "out").read_text() == "new"


def test_refuses_places_that_cannot_be_written_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    for bad in (
        tmp_path / "file" / "out",
        Path("/dev/null"),
        Path("/"),
        tmp_path / ("n" * 300),
        tmp_path / "nul\0",
        tmp_path / "loop" / "out",
    ):
        with pytest.raises(InputError, match="cannot write"), publish(bad):
            pytest.fail("the body ran")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "loop"]
    assert Path("/dev/null").is_char_device()


def test_refuses_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)  # root, as in containers, may write anywhere
    with pytest.raises(InputError, match="not writable"):
        check_writable(tmp_path / "new" / "out")


def test_check_creates_nothing(tmp_path: Path) -> None:
    assert check_writable(tmp_path / "a" / "b") == (tmp_path / "a" / "b").resolve()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_full_disk_in_the_body_is_a_run_error(tmp_path: Path, number: int) -> None:
    with pytest.raises(RunError, match="cannot write") as caught:
        fail_midway(tmp_path / "out", OSError(number, os.strerror(number)))
    assert "space" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_other_failures_of_the_body_are_not_called_write_failures(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError), publish(tmp_path / "out"):
        raise ConnectionError


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


def run(script: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
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
    module._flush = die
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
    """The earlier or the new result is there, at the latest after the next publish begins; in the end nothing else is."""
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
    """A running process (our parent) and a name that only looks alike keep theirs; a dead one and an older namesake of ours do not."""
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


def test_threads_may_publish_the_same_name(tmp_path: Path) -> None:
    barrier = threading.Barrier(4)

    def work(text: str) -> None:
        with publish(tmp_path / "out") as partial:
            barrier.wait()
            partial.write_text(text)

    threads = [threading.Thread(target=work, args=(str(index),)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_exchange_swaps_or_says_no(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("")
    (tmp_path / "b").mkdir()
    assert exchange(tmp_path / "a", tmp_path / "b") == (tmp_path / "b" / "x").exists()
    assert exchange(tmp_path / "a", tmp_path / "none") is False


def test_recover_prefers_what_is_published(tmp_path: Path) -> None:
    (tmp_path / ".out.aside-999999999-00000000").write_text("old")
    (tmp_path / "out").write_text("new")
    leftovers.recover(tmp_path / "out")
    assert tree(tmp_path) == {"out": "new"}


def test_json_round_trip_and_hash(tmp_path: Path) -> None:
    document = {"seconds": 0.1 + 0.2, "tiny": 5e-324, "name": "caf\u00e9", "list": [1, None, True]}
    write_json(tmp_path / "new" / "a.json", document)
    assert read_json(tmp_path / "new" / "a.json") == document
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    for reader in (sha256_file, read_json):
        for bad in (tmp_path, tmp_path / "missing"):
            with pytest.raises(InputError):
                reader(bad)


def test_json_has_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"psnr": float("inf")})
    (tmp_path / "b.json").write_text('{"psnr": Infinity}')
    with pytest.raises(InputError, match="Infinity"):
        read_json(tmp_path / "b.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.json"]


def test_json_is_limited_in_size(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(InputError, match="bytes, above"):
        read_json(tmp_path / "a.json")
