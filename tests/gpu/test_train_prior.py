"""The training of the prior on a GPU, dry on a CPU, and what is sent to the machine with the GPU."""

import json
import tarfile
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.gpu.pack_prior import pack
from tests.gpu.train_prior import dry, unpack
from tests.gpu.weight_parts import read_parts, write_parts


def test_a_piece_goes_on_with_smaller_batches_and_tells_what_it_did(tmp_path: Path) -> None:
    made = dry(tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest == json.loads(json.dumps(made))
    assert [manifest[phase]["recipe"]["batch"] for phase in ("monocular", "prior")] == [2, 1], "the first ones fail"
    for phase in ("monocular", "prior"):
        told = manifest[phase]
        assert told["steps_done"] == told["exported_step"] == told["recipe"]["steps"] == 3
        assert told["shards"] == 6
    first, last = (read_parts([tmp_path / "out" / f"{phase}-0.safetensors"]) for phase in ("monocular", "prior"))
    assert first.keys() == last.keys()
    assert any(not torch.equal(first[name], last[name]) for name in first)


def test_weights_come_in_files_of_a_limited_size(tmp_path: Path) -> None:
    weights = {str(k): torch.full((1000, 50), float(k)).half() for k in range(5)}
    files = write_parts(tmp_path, "prior", weights, largest=2**17 + 250_000)
    assert files == [f"prior-{k}.safetensors" for k in range(3)]
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    back = read_parts([tmp_path / name for name in files])
    assert all(torch.equal(back[name], value.float()) for name, value in weights.items())


def test_what_is_packed_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "textures").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "textures" / "a.png")
    (tmp_path / "furniture.npz").write_bytes(b"pack")
    parts = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for path in parts:
        save_file({path.stem: torch.ones(2)}, path)
    size = pack(tmp_path / "packed", tmp_path / "furniture.npz", tmp_path / "textures", parts, None)
    assert 1000 < size < 2 * 2**20
    assert {name: value.dtype for name, value in load_file(tmp_path / "packed" / "start.safetensors").items()} == {
        "a": torch.float16,
        "b": torch.float16,
    }
    with tarfile.open(tmp_path / "packed" / "code.tar.xz") as tar:
        names = tar.getnames()
    assert {"stages/distill/prior_phases.py", "stages/splat/kernel.cpp"} <= set(names)
    assert {"tests/gpu/train_prior.py", "tests/gpu/weight_parts.py"} <= set(names)
    assert not [name for name in names if name.endswith(".safetensors")]
    folder = unpack(tmp_path / "packed")
    assert (folder / "textures" / "a.png").is_file()
    assert (folder / "furniture.npz").read_bytes() == b"pack"
