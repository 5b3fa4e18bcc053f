"""Weights are found in a fixed order and never used when their hash is wrong."""

import hashlib
import json
from pathlib import Path

import pytest

import videoscene_cli.models.weights_file as weights
from stages.errors import WeightsError
from stages.files.file_hashes import FileHashes

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
        found = weights.find_weights(name, "prior", FileHashes())
        assert (found.path, found.sha256) == (shipped / "prior.safetensors", HASH)


def test_the_manifest_beside_the_weights_is_held_against_them(shipped: Path) -> None:
    manifest = shipped / "manifest.json"
    manifest.write_text(json.dumps({"outputs": [{"path": "prior.safetensors", "sha256": HASH}]}))
    assert weights.find_weights("tiny", "prior", FileHashes()).sha256 == HASH
    manifest.write_text(json.dumps({"outputs": [{"path": "prior.safetensors", "sha256": "0" * 64}]}))
    with pytest.raises(WeightsError, match="sha256"):
        weights.find_weights("tiny", "prior", FileHashes())


@pytest.mark.parametrize("text", ["[]", '{"outputs": 3}', "{", "{}"])
def test_a_manifest_that_is_none_verifies_nothing(shipped: Path, text: str) -> None:
    (shipped / "manifest.json").write_text(text)
    with pytest.raises(WeightsError, match="no manifest"):
        weights.find_weights("tiny", "prior", FileHashes())


def test_a_package_without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "SHIPPED", tmp_path / "gone")
    with pytest.raises(WeightsError, match="no prior weights 'small'"):
        weights.find_weights("small", "prior", FileHashes())


def test_missing_weights_list_the_known_names(shipped: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as failure:
        weights.find_weights("unknown", "prior", FileHashes())
    assert "tiny" in failure.value.hint
    with pytest.raises(WeightsError, match=r"student\.safetensors"):
        weights.find_weights("tiny", "student", FileHashes())
