import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Generator

from stages.files.images import write_png
from stages.files.transforms import write_transforms
from stages.scene import Views
from stages.worlds import load_textures, sample_scene


@dataclass(frozen=True)
class World:
    """A scene folder, and what it shows with exact depth. The context frames of its one case are the first two."""

    scene: Path
    views: Views


def write_scene(scene: Path, views: Views) -> None:
    names = [f"images/{index:04d}.png" for index in range(len(views.images))]
    for name, image in zip(names, views.images, strict=True):
        write_png(scene / name, image)
    write_transforms(scene / "transforms.json", views.cameras.to(torch.float64), names)
    (scene / "pairs.json").write_text(json.dumps([{"kind": "medium", "context": [0, 1], "target": [2]}]))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    generator = Generator().manual_seed(4)
    textures = load_textures(None, generator, procedural=12)
    views = sample_scene(textures, generator, (160, 240), [0.2, 0.4, 0.6, 0.8], shadows=False)
    scene = tmp_path_factory.mktemp("worlds") / "world"
    write_scene(scene, views)
    return World(scene, views)
