"""Chunks of RealEstate10K, written as pixelSplat's converter writes them."""

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stages.errors import InputError
from stages.files.realestate import find_recording, read_chunk

SIZE = (36, 64)


def jpeg(seed: int) -> torch.Tensor:
    buffer = io.BytesIO()
    Image.fromarray(np.full((*SIZE, 3), 40 * seed, np.uint8)).save(buffer, "JPEG")
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def scene(key: str, frames: int = 3) -> dict[str, Any]:
    w2c = torch.eye(4)[:3].repeat(frames, 1, 1)
    w2c[:, 0, 3] = -0.1 * torch.arange(frames)  # the camera moves to the right
    head = torch.tensor([0.5, 0.9, 0.5, 0.5, 0, 0]).repeat(frames, 1)
    images = [jpeg(index) for index in range(frames)]
    return {"key": key, "url": "https://example.org", "timestamps": torch.arange(frames), "images": images} | {
        "cameras": torch.cat([head, w2c.flatten(1)], 1)
    }


def write(path: Path, scenes: Any) -> Path:
    torch.save(scenes, path)
    return path


def test_a_chunk(tmp_path: Path) -> None:
    first, second = read_chunk(write(tmp_path / "000000.torch", [scene("a"), scene("b", 5)]))
    assert (first.key, len(first), len(second)) == ("a", 3, 5)
    assert second.image(2).shape == (3, *SIZE)
    assert float(second.image(2).mean()) == pytest.approx(80 / 255, abs=0.01)
    cameras = second.cameras([4, 0], SIZE)
    assert cameras.c2w[:, 0, 3].tolist() == pytest.approx([0.4, 0.0])
    torch.testing.assert_close(
        cameras.K[0], torch.tensor([[32, 0, 32], [0, 32.4, 18], [0, 0, 1]]).double(), rtol=0, atol=1e-5
    )


def test_the_index(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(json.dumps({"a": "000000.torch", "evil": "../../000000.torch"}))
    assert find_recording(tmp_path, "a") == tmp_path / "000000.torch"
    for key in ("b", "evil"):
        with pytest.raises(InputError, match="names no chunk"):
            find_recording(tmp_path, key)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("ran",)


@pytest.mark.parametrize(
    ("scenes", "told"),
    [
        ([], "not a list of scenes"),
        ({"key": "a"}, "not a list of scenes"),
        ([{"key": "a"}], "lacks"),
        ([scene("../a")], "is called"),
        ([scene("a") | {"cameras": torch.zeros(2, 18)}], "3 images"),
        ([scene("a") | {"cameras": torch.full((3, 18), torch.nan)}], "not finite"),
        ([scene("a") | {"cameras": torch.zeros(3, 18)}], "no pose"),
        ([scene("a") | {"images": ["x", "y", "z"]}], "not encoded bytes"),
        ([Evil()], "Weights only load failed"),
    ],
)
def test_what_is_no_chunk(tmp_path: Path, scenes: Any, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=told):
        read_chunk(write(tmp_path / "000000.torch", scenes))
    assert "ran" not in capsys.readouterr().out


def test_damaged_files(tmp_path: Path) -> None:
    path = write(tmp_path / "000000.torch", [scene("a")])
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match="cannot read"):
        read_chunk(path)
    path.write_bytes(pickle.dumps(Evil(), 2))
    with pytest.raises(InputError, match="cannot read"):
        read_chunk(path)
    with pytest.raises(InputError, match="no such file"):
        read_chunk(tmp_path / "none.torch")
    broken = scene("a")
    broken["images"][1] = broken["images"][1][:200]
    with pytest.raises(InputError, match="frame 1 of a"):
        read_chunk(write(path, [broken]))[0].image(1)
