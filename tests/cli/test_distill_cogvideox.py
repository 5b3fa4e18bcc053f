"""videoscene distill for cogvideox-5b, from a recipe to weights."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from stages.video.cogvideox_files import find_files, load_cogvideox
from stages.video.cogvideox_memory import Memory
from tests.cli.conftest import Ended
from tests.distill.tiny import cogvideox_recipe, write_shards
from tests.video.tiny import TRANSFORMER, VAE, save_student

Run = Callable[..., Ended]


def test_cogvideox_from_recipe_to_weights(videoscene: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a tiny model: the weights lie beside links to the base, so `generate` finds all it needs in one folder."""
    tiny = functools.partial(load_cogvideox, transformer_config=TRANSFORMER, vae_config=VAE)
    for module in ("stages.video.cogvideox_files", "stages.distill.starting_model"):
        monkeypatch.setattr(f"{module}.load_cogvideox", tiny)
    save_student(tmp_path / "base")
    write_shards(tmp_path / "clips", (32, 48))
    recipe = cogvideox_recipe(tmp_path, {"steps": 1, "warmup": 0}, {"clips": 2, "held_out": 0.5})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    ended = videoscene(
        "distill",
        "--config",
        tmp_path / "recipe.yaml",
        "--clips",
        tmp_path / "clips",
        "-o",
        tmp_path / "run",
        "--device",
        "cpu",
    )
    assert ended.code == 0, ended.err
    folder = tmp_path / "run" / "weights" / "full"
    assert {path.name for path in folder.iterdir()} == {
        *("model.safetensors", "policy.safetensors", "prompt_embeds.pt", "vae", "transformer", "manifest.json")
    }
    files = find_files(folder, tmp_path / "no cache")
    _, keys = tiny(files, "cpu", Memory(torch.float32))
    assert keys is not None
    assert len(keys.matched) == len(load_file(folder / "model.safetensors"))
