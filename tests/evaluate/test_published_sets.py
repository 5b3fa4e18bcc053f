"""Published test sets: chunks with an index, COLMAP scenes; unpacked once, bad scenes told."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from stages.errors import InputError
from stages.evaluate.cases import load_task, read_cases
from stages.evaluate.published_sets import cover, held_out_pairs, images_folder, read_index, unpack_colmap
from stages.files.colmap import write_colmap
from stages.files.images import write_png
from stages.scene import Cameras
from tests.evaluate.conftest import wall_cameras, wall_images
from videoscene_cli import app

SIZE = (72, 128)
Run = Callable[..., tuple[int, list[str], str]]


def png(image: Tensor) -> Tensor:
    buffer = io.BytesIO()
    Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy()).save(buffer, "PNG")
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def recording(key: str, frames: int = 9) -> dict[str, Any]:
    """The wall as a scene of a chunk."""
    images = F.interpolate(wall_images(frames), SIZE, mode="bilinear")
    cameras = wall_cameras(frames)
    head = torch.tensor([60 / 64, 60 / 48, 0.5, 0.5, 0, 0]).repeat(frames, 1)
    rows = torch.cat([head, cameras.w2c[:, :3].flatten(1).float()], 1)
    return {
        "key": key,
        "url": "",
        "timestamps": torch.arange(frames),
        "cameras": rows,
        "images": [png(image) for image in images],
    }


@pytest.fixture
def chunks(tmp_path: Path) -> Path:
    folder = tmp_path / "test"
    folder.mkdir()
    torch.save([recording("a"), recording("b")], folder / "000000.torch")
    torch.save([recording("c")], folder / "000001.torch")
    (folder / "index.json").write_text(
        json.dumps({"a": "000000.torch", "b": "000000.torch", "c": "000001.torch", "d": "000001.torch"})
    )
    return folder


@pytest.fixture
def index(tmp_path: Path) -> Path:
    path = tmp_path / "test_index.json"
    entries = {"a": {"context": [1, 7], "target": [3, 6]}, "c": {"context": [0, 8], "target": [4]}, "x": None}
    path.write_text(json.dumps(entries))
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> tuple[int, list[str], str]:
        capsys.readouterr()
        code = app.run(["evaluate", "--two-view", *map(str, arguments), "--method", "nearest"])
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err

    return run


def test_chunks_with_an_index(
    chunks: Path, index: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert run(chunks, index, "-o", out, "--dry-run")[1] == [f"to unpack: 2 scenes of {chunks}"]
    assert not out.exists()
    code, lines, err = run(chunks, index, "-o", out)
    assert code == 0, err
    assert [line.split()[:2] for line in lines[:2]] == [["a-0000-0003", "test_index"], ["c-0000-0002", "test_index"]]
    (case,) = read_cases(out / "scenes" / "a")
    task = load_task(case)
    assert task.times.tolist() == pytest.approx([1 / 3, 5 / 6])
    assert task.truth.shape == (2, 3, 256, 256)
    torch.testing.assert_close(task.cameras.c2w, wall_cameras(9).c2w[[3, 6]], atol=1e-6, rtol=0)
    expected = 60 / 48 * 256  # fy as a share of the height, of which all is left; the pixels were square in neither
    assert float(task.cameras.K[0, 1, 1]) == pytest.approx(expected, rel=1e-4)
    assert task.cameras.K[0, :2, 2].tolist() == pytest.approx([128, 128], abs=1)
    assert "sets" in json.loads((out / "metrics.json").read_text())["protocol"]
    monkeypatch.setattr("stages.evaluate.published_sets.write_png", lambda *arguments: pytest.fail("it is unpacked"))
    assert run(chunks, index, "-o", out)[0] == 0


def test_a_scene_that_changed_is_unpacked_again(tmp_path: Path) -> None:
    """Of the same name and as many images."""
    cameras, images = wall_cameras(10), F.interpolate(wall_images(10), scale_factor=6, mode="bilinear")
    large = Cameras(cameras.c2w, torch.cat([cameras.K[:, :2] * 16, cameras.K[:, 2:]], 1), (48 * 16, 64 * 16))
    names, out = [f"{index:04d}.png" for index in range(10)], tmp_path / "out"
    for folder, shown in (("a", images), ("b", 1 - images)):
        write_colmap(tmp_path / folder / "room", large, names)
        for name, image in zip(names, shown, strict=True):
            write_png(tmp_path / folder / "room" / "images" / name, image)
    means = []
    for folder in ("a", "b"):
        unpack_colmap(tmp_path / folder / "room", None, "colmap", out)
        means.append(float(load_task(read_cases(out)[0]).truth.mean()))
    assert means[1] == pytest.approx(1 - means[0], abs=0.01)
    write_colmap(
        tmp_path / "b" / "room", Cameras(large.c2w, large.K * torch.tensor([[1.1], [1.1], [1]]), large.size), names
    )
    before = load_task(read_cases(out)[0]).cameras.K[0, 0, 0]
    unpack_colmap(tmp_path / "b" / "room", None, "colmap", out)
    assert float(load_task(read_cases(out)[0]).cameras.K[0, 0, 0] / before) == pytest.approx(1.1, rel=0.01)


def test_bad_scenes_of_an_index_do_not_stop_the_rest(chunks: Path, index: Path, run: Run, tmp_path: Path) -> None:
    entries = json.loads(index.read_text())
    entries |= {"d": entries["a"], "e": entries["a"], "b": {"context": [0, 40], "target": [3]}}
    index.write_text(json.dumps(entries))
    code, lines, err = run(chunks, index, "-o", tmp_path / "out")
    assert code == 1
    assert sum(line.startswith(("a-", "c-")) for line in lines) == 2
    for told in ("000001.torch does not hold it", "index.json names no chunk", "names frame 40"):
        assert told in err
    assert run(chunks, "-o", tmp_path / "other")[0] == 2, "no index"


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([], "not a mapping"),
        ({"a": None}, "no cases"),
        ({"a": {"context": [0, 1]}}, "lacks"),
        ({"a": {"context": [1, 1], "target": [0]}}, "two different"),
        ({"a": {"context": [0, 1], "target": [-1]}}, "a has context"),
        ({"a": {"context": [0, True], "target": [1]}}, "a has context"),
    ],
)
def test_what_is_no_index(tmp_path: Path, entries: Any, told: str) -> None:
    (tmp_path / "index.json").write_text(json.dumps(entries))
    with pytest.raises(InputError) as caught:
        read_index(tmp_path / "index.json")
    assert told in f"{caught.value} {caught.value.hint}"


def test_colmap_scenes(run: Run, tmp_path: Path) -> None:
    scene, cameras = tmp_path / "360" / "garden", wall_cameras(10)
    large = Cameras(cameras.c2w, torch.cat([cameras.K[:, :2] * 16, cameras.K[:, 2:]], 1), (48 * 16, 64 * 16))
    names = [f"DSC{9 - index:04d}.png" for index in range(10)]  # the model's order is not that of the names
    write_colmap(scene, large, names)
    images = F.interpolate(wall_images(10), scale_factor=6, mode="bilinear")
    for name, image in zip(names, images, strict=True):
        write_png(scene / "images_2" / name, image)
    code, lines, err = run(tmp_path / "360", "-o", tmp_path / "out")
    assert code == 0, err
    assert lines[0].startswith("garden-0000-0008")
    task = load_task(read_cases(tmp_path / "out" / "scenes" / "garden")[0])
    assert task.truth.shape == (7, 3, 256, 336)
    torch.testing.assert_close(task.context.cameras.c2w, cameras.c2w[[9, 1]], atol=1e-6, rtol=0)
    assert float(task.cameras.K[0, 0, 0]) == pytest.approx(60 * 256 / 48, rel=0.01)
    with pytest.raises(InputError, match="none of its images folders"):
        images_folder(scene, "nothing.png")


def test_too_few_images(tmp_path: Path) -> None:
    write_colmap(tmp_path / "small", wall_cameras(4), [f"{index}.png" for index in range(4)])
    with pytest.raises(InputError, match="4 images"):
        unpack_colmap(tmp_path / "small", None, "colmap", tmp_path / "out")


def test_pairs_of_test_images() -> None:
    assert [entry.context for entry in held_out_pairs(100)] == [(0, 8), (48, 56), (88, 96)]
    assert [entry.context for entry in held_out_pairs(9)] == [(0, 8)]
    assert held_out_pairs(9)[0].targets == tuple(range(1, 8))
    assert held_out_pairs(8) == []


def test_covering_keeps_the_camera() -> None:
    image = torch.zeros(3, 360, 640)
    image[:, 170:190, 310:330] = 1
    cut, K = cover(image, torch.tensor([[500.0, 0, 320], [0, 500, 180], [0, 0, 1]]))
    assert cut.shape == (3, 256, 256)
    rows, columns = (cut[0] > 0.5).nonzero().float().mean(0).tolist()
    assert (columns + 0.5, rows + 0.5) == pytest.approx(tuple(K[:2, 2].tolist()), abs=1)
    assert np.isclose(float(K[0, 0]), 500 * 256 / 360, rtol=2e-3)
