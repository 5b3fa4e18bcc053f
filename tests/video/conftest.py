import shutil
from pathlib import Path

import pytest
import torch

from stages.video.cogvideox_files import StudentFiles
from stages.video.cogvideox_network import CogVideoX, build
from tests.video.tiny import FULL, TRANSFORMER, VAE, save_student


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "student"
    save_student(folder)
    return folder


@pytest.fixture
def student_files(saved: Path, tmp_path: Path) -> StudentFiles:
    """A student's folder that a test may spoil."""
    folder = tmp_path / "student"
    shutil.copytree(saved, folder)
    return StudentFiles(
        folder / "vae", folder / "transformer", folder / "model.safetensors", folder / "prompt_embeds.pt"
    )


@pytest.fixture(scope="session")
def model() -> CogVideoX:
    torch.manual_seed(0)
    transformer, vae = build("transformer", TRANSFORMER, "cpu").float(), build("vae", VAE, "cpu").float()
    return CogVideoX(transformer, vae, torch.randn(1, 4, 8), "cpu", FULL)
