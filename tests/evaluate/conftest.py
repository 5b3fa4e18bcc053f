"""A small posed scene: a textured wall three units away, photographed by a camera that slides to the right."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stages.files.images import write_png
from stages.files.transforms import write_transforms
from stages.scene import Cameras
from videoscene_cli.evaluation import jobs, methods

SIZE, FOCAL, DEPTH, STEP = (48, 64), 60.0, 3.0, 0.15  # one step moves the wall by 3 pixels


# Functions that keep what they have loaded for the rest of the process.
CACHED = (jobs._instruments, methods.open_method, methods.open_session, methods._prior, methods._ranges)


def wall_cameras(count: int) -> Cameras:
    c2w = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    c2w[:, 0, 3] = STEP * torch.arange(count)
    K = torch.tensor([[FOCAL, 0, SIZE[1] / 2], [0, FOCAL, SIZE[0] / 2], [0, 0, 1]], dtype=torch.float64)
    return Cameras(c2w, K.repeat(count, 1, 1), SIZE)


def wall_images(count: int) -> Tensor:
    """[count, 3, h, w]: windows of a wide smooth random texture, each 3 pixels further."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 24, 60, generator=generator)
    texture = torch.nn.functional.interpolate(coarse, (SIZE[0], 4 * SIZE[1]), mode="bicubic").clamp(0, 1)[0]
    return torch.stack([texture[:, :, 3 * i : 3 * i + SIZE[1]] for i in range(count)])


def write_wall(folder: Path, count: int, pairs: object) -> Path:
    """Write a scene folder of `count` frames. pairs: its cases, see pairs.json."""
    names = [f"images/{i:04d}.png" for i in range(count)]
    for name, image in zip(names, wall_images(count), strict=True):
        write_png(folder / name, image)
    write_transforms(folder / "transforms.json", wall_cameras(count), names)
    (folder / "pairs.json").write_text(json.dumps(pairs))
    return folder


@pytest.fixture
def wall(tmp_path: Path) -> Callable[..., Path]:
    """Write a scene folder with five frames, or `count`, and two cases."""

    def write(name: str = "wall", pairs: object = None, count: int = 5) -> Path:
        default = [
            {"kind": "medium", "context": [0, 2], "target": [1]},
            {"kind": "wide", "context": [0, 4], "target": [1, 2, 3], "inliers": 60},
        ]
        return write_wall(tmp_path / "scenes" / name, count, default if pairs is None else pairs)

    return write


@pytest.fixture(autouse=True)
def _no_metric_networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is tested here must not depend on whether `make metrics` was run."""
    monkeypatch.setenv("VIDEOSCENE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def _as_in_a_new_process() -> None:
    """A process loads networks once and keeps them; no test may meet those of a test before it."""
    for load in CACHED:
        load.cache_clear()
