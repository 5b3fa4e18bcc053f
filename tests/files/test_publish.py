import errno
import os
import re
import threading
from pathlib import Path

import pytest

from stages.errors import InputError, RunError
from stages.files import publish as module
from stages.files.publish import check_writable, publish
from stages.files.swap_paths import exchange


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
    monkeypatch.setattr(
        os, "access", lambda path, mode: Path(path) != tmp_path
    )  # root, as in containers, may write anywhere
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
