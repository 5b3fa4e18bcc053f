"""The page shows in a browser what our renderer draws. Needs Chromium, and is skipped without."""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from stages.files.images import read_image
from stages.metrics.image import psnr
from stages.reconstruct.web_page import write_page
from stages.scene import Cameras, Gaussians
from stages.splat import draw

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
SIZE = (400, 520)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    "--force-color-profile=srgb",
    "--virtual-time-budget=10000",
]


def scene(unit: float) -> Gaussians:
    """Coloured, long and flat Gaussians of all opacities, some of them behind the camera or beside the picture."""
    g = torch.Generator().manual_seed(0)
    count = 1500
    means = (torch.rand(count, 3, generator=g) - 0.5) * torch.tensor([6.0, 5.0, 8.0]) + torch.tensor([0.0, 0, 3])
    scales = 0.02 + 0.2 * torch.rand(count, 3, generator=g) ** 3
    sh = (torch.rand(count, 1, 3, generator=g) - 0.5) / 0.28
    return Gaussians(
        means * unit, scales * unit, torch.randn(count, 4, generator=g), torch.rand(count, generator=g), sh
    )


def cameras(unit: float) -> Cameras:
    c2w = torch.eye(4).repeat(2, 1, 1)
    turn = torch.tensor(0.3)
    c2w[1, 0, 0] = c2w[1, 2, 2] = turn.cos()
    c2w[1, 0, 2], c2w[1, 2, 0] = turn.sin(), -turn.sin()
    c2w[1, :3, 3] = torch.tensor([0.5, -0.2, -0.4]) * unit
    K = torch.tensor([[400.0, 0, 270], [0, 420, 190], [0, 0, 1]]).repeat(2, 1, 1)
    return Cameras(c2w, K, SIZE)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
@pytest.mark.parametrize(("number", "unit"), [(0, 1.0), (1, 1e-3)])
def test_a_browser_shows_our_picture(number: int, unit: float, tmp_path: Path) -> None:
    page, picture = tmp_path / "scene.html", tmp_path / "screen.png"
    write_page(page, scene(unit), cameras(unit))
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={SIZE[1]},{SIZE[0]}"]
    subprocess.run(
        [*command, f"--screenshot={picture}", f"file://{page}#{number}"], check=True, capture_output=True, timeout=120
    )
    shown = read_image(picture)
    assert shown.shape == (3, *SIZE)
    wanted = draw(scene(unit), cameras(unit)[[number]], near=0.03 * unit).image.clamp(0, 1)
    assert float(wanted.std()) > 0.1
    assert float(psnr(shown[None], wanted)) > 35


def test_a_page_is_one_file_that_names_no_other(tmp_path: Path) -> None:
    write_page(tmp_path / "scene.html", scene(1), cameras(1))
    text = (tmp_path / "scene.html").read_text()
    assert "{{" not in text
    assert not any(word in text for word in ("http://", "https://", "src=", "import "))
    assert len(text) < 1500 * 32 * 4 / 3 + 20_000
