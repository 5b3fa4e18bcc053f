"""Hashes of large files are computed once, not at every command."""

import hashlib
import os
from pathlib import Path

import pytest

from stages.files import file_hashes
from stages.files.file_hashes import NOT_HASHED, FileHashes


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that counts as large."""
    monkeypatch.setattr(file_hashes, "LARGE", 5)
    path = tmp_path / "weights"
    path.write_bytes(b"weights")
    return path


def refuse(path: Path) -> str:
    raise AssertionError(f"{path} was read")


def test_the_next_command_knows_them(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = weights.parent / "cache" / "hashes.json"
    expected = hashlib.sha256(b"weights").hexdigest()
    assert FileHashes(store).of(weights) == expected
    (weights.parent / "tiny").write_bytes(b"tiny")
    FileHashes(store).of(weights.parent / "tiny")
    with monkeypatch.context() as patch:
        patch.setattr(file_hashes, "sha256_file", refuse)
        assert FileHashes(store).of(weights) == expected
        with pytest.raises(AssertionError):
            FileHashes(store).of(weights.parent / "tiny")


def test_a_changed_file_is_hashed_again(weights: Path) -> None:
    store = weights.parent / "hashes.json"
    FileHashes(store).of(weights)
    weights.write_bytes(b"WEIGHTS")
    os.utime(weights, (1, 1))
    assert FileHashes(store).of(weights) == hashlib.sha256(b"WEIGHTS").hexdigest()


def test_without_reading_only_stored_hashes_of_large_files_are_known(weights: Path) -> None:
    store = weights.parent / "hashes.json"
    (weights.parent / "tiny").write_bytes(b"tiny")
    unread = FileHashes(store, read_large=False)
    assert unread.of(weights) == NOT_HASHED
    assert unread.of(weights.parent / "tiny") == hashlib.sha256(b"tiny").hexdigest()
    expected = FileHashes(store).of(weights)
    assert unread.of(weights) == expected != NOT_HASHED


@pytest.mark.parametrize("content", ["", "[]", '{"a": 5}', "{"])
def test_a_damaged_store_only_costs_time(weights: Path, content: str) -> None:
    store = weights.parent / "hashes.json"
    store.write_text(content)
    assert FileHashes(store).of(weights) == hashlib.sha256(b"weights").hexdigest()
