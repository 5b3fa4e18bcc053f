from pathlib import Path

import pytest

from stages.errors import InputError
from stages.files.documents import read_json, sha256_file
from stages.files.publish import write_json


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
