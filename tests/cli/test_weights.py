"""Weights are found in a fixed order and never used when their hash is wrong."""

import hashlib
import json
from pathlib import Path

import pytest

import videoscene_cli.models.weights_file as weights
from stages.errors import WeightsError
from videoscene_cli.terminal.report import Report

CONTENT = b"tensors"
HASH = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "shipped" / "tiny"
    folder.mkdir(parents=True)
    (folder / "prior.safetensors").write_bytes(CONTENT)
    monkeypatch.setattr(weights, "SHIPPED", folder.parent)
    return folder


def test_a_name_a_folder_and_a_file(shipped: Path) -> None:
    for name in ("tiny", str(shipped), str(shipped / "prior.safetensors")):
        found = weights.find_weights(name, "prior", Report())
        assert (found.path, found.sha256) == (shipped / "prior.safetensors", HASH)


def test_the_manifest_beside_the_weights_is_held_against_them(shipped: Path) -> None:
    manifest = shipped / "manifest.json"
    manifest.write_text(json.dumps({"outputs": [{"path": "prior.safetensors", "sha256": HASH}]}))
    assert weights.find_weights("tiny", "prior", Report()).sha256 == HASH
    manifest.write_text(json.dumps({"outputs": [{"path": "prior.safetensors", "sha256": "0" * 64}]}))
    with pytest.raises(WeightsError, match="sha256"):
        weights.find_weights("tiny", "prior", Report())


@pytest.mark.parametrize("text", ["[]", '{"outputs": 3}', "{", "{}"])
def test_a_manifest_that_is_none_verifies_nothing(shipped: Path, text: str) -> None:
    (shipped / "manifest.json").write_text(text)
    with pytest.raises(WeightsError, match="no manifest"):
        weights.find_weights("tiny", "prior", Report())


def test_a_package_without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "SHIPPED", tmp_path / "gone")
    with pytest.raises(WeightsError, match="no prior weights 'small'"):
        weights.find_weights("small", "prior", Report())


def test_missing_weights_list_the_known_names(shipped: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as failure:
        weights.find_weights("unknown", "prior", Report())
    assert "tiny" in failure.value.hint
    with pytest.raises(WeightsError, match=r"student\.safetensors"):
        weights.find_weights("tiny", "student", Report())


class Hub:
    """Stands for huggingface_hub: a cache, a server, and what was asked of them."""

    def __init__(self, cached: Path | None, served: Path | None) -> None:
        self.cached, self.served = cached, served
        self.asked: list[dict[str, object]] = []

    def __call__(self, repo: str, file: str, **options: object) -> str:
        from huggingface_hub.errors import LocalEntryNotFoundError

        self.asked.append({"repo": repo, "file": file, **options})
        path = self.cached if options.get("local_files_only") else self.served
        if path is None:
            raise LocalEntryNotFoundError("not there, and the network is off")
        return str(path)


@pytest.mark.parametrize("where", ["cached", "served"])
def test_the_cache_comes_before_a_download(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    path = shipped / "prior.safetensors"
    hub = Hub(path if where == "cached" else None, path)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", hub)
    monkeypatch.setenv("VIDEOSCENE_CACHE", str(tmp_path))
    release = weights.Release("owner/repo", "prior.safetensors", "abc123", HASH, 9)
    assert weights.find_weights("big", "prior", Report(), {("big", "prior"): release}).sha256 == HASH
    assert [bool(asked.get("local_files_only")) for asked in hub.asked] == ([True] if where == "cached" else [True, False])
    assert all(asked["revision"] == "abc123" and asked["cache_dir"] == str(tmp_path) for asked in hub.asked)
    assert ("9 MB" in capsys.readouterr().err) == (where == "served")


@pytest.mark.parametrize("case", ["offline", "wrong hash"])
def test_offline_and_damaged_downloads_are_weights_errors(shipped: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.setattr("huggingface_hub.hf_hub_download", Hub(None, None if case == "offline" else shipped / "prior.safetensors"))
    release = weights.Release("owner/repo", "prior.safetensors", "abc123", "0" * 64, 9)
    with pytest.raises(WeightsError, match="network is off" if case == "offline" else "expected 0000"):
        weights.find_weights("big", "prior", Report(quiet=True), {("big", "prior"): release})
