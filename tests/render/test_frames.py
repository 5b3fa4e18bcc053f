"""Rendering along a path: holes are filled from their surroundings, coverage says where."""

import torch
from torch import Generator

from stages.render import fill_holes, render, render_parts
from stages.scene import Cameras, Clip, Gaussians, colours_to_sh


def _wall(depth: float = 2.0, side: int = 24, extent: float = 0.6) -> Gaussians:
    """A square of opaque orange Gaussians facing the camera."""
    y, x = torch.meshgrid(torch.linspace(-extent, extent, side), torch.linspace(-extent, extent, side), indexing="ij")
    means = torch.stack([x, y, torch.full_like(x, depth)], -1).reshape(-1, 3)
    g = len(means)
    return Gaussians(
        means,
        torch.full((g, 3), 0.04),
        torch.tensor([1.0, 0, 0, 0]).expand(g, 4),
        torch.full((g,), 0.95),
        colours_to_sh(torch.tensor([0.9, 0.5, 0.1]).expand(g, 3)),
    )


def _cameras(shifts: list[float]) -> Cameras:
    c2w = torch.eye(4, dtype=torch.float64).repeat(len(shifts), 1, 1)
    c2w[:, 0, 3] = torch.tensor(shifts)
    K = torch.tensor([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]], dtype=torch.float64).expand(len(shifts), 3, 3)
    return Cameras(c2w, K, (48, 64))


def test_fill_keeps_what_is_drawn_and_fills_the_rest() -> None:
    alpha = torch.zeros(1, 20, 28)
    alpha[:, :, :14] = 1
    image = alpha[:, None] * torch.tensor([0.2, 0.4, 0.6]).view(1, 3, 1, 1)
    filled = fill_holes(image, alpha)
    assert torch.equal(filled[..., :14], image[..., :14])
    assert torch.allclose(
        filled[..., 14:], torch.tensor([0.2, 0.4, 0.6]).view(1, 3, 1, 1).expand(1, 3, 20, 14), atol=1e-3
    )


def test_fill_of_nothing_is_black_and_finite() -> None:
    filled = fill_holes(torch.zeros(1, 3, 7, 5), torch.zeros(1, 7, 5))
    assert torch.equal(filled, torch.zeros(1, 3, 7, 5))


def test_fill_divides_by_coverage() -> None:
    """Half-transparent paint of one colour comes out in that colour, not darker."""
    alpha = 0.2 + 0.7 * torch.rand(1, 16, 16, generator=Generator().manual_seed(0))
    image = alpha[:, None] * torch.tensor([0.3, 0.6, 0.9]).view(1, 3, 1, 1)
    assert torch.allclose(
        fill_holes(image, alpha), torch.tensor([0.3, 0.6, 0.9]).view(1, 3, 1, 1).expand(1, 3, 16, 16), atol=0.02
    )


def test_render_reports_progress_and_coverage() -> None:
    calls: list[tuple[int, int]] = []
    parts = render_parts(
        _wall(), _cameras([0.0] * 5 + [0.4] * 5), fps=12, progress=lambda done, total: calls.append((done, total))
    )
    clip = Clip.joined(list(parts))
    assert clip.frames.shape == (10, 3, 48, 64)
    assert clip.fps == 12
    assert calls[-1] == (10, 10)
    assert calls[0][0] < 10
    assert clip.coverage is not None
    assert clip.coverage[0, 24, 32] > 0.95
    assert clip.coverage[0, 2, 2] < 0.05
    assert torch.allclose(clip.frames[0, :, 24, 32], torch.tensor([0.9, 0.5, 0.1]), atol=0.02)
    assert torch.allclose(clip.frames[0, :, 2, 2], torch.tensor([0.9, 0.5, 0.1]), atol=0.1), (
        "holes take the colour around them"
    )

    # the wall moves left by 60 px * 0.4 / 2 = 12 px when the camera moves right by 0.4
    def centre(coverage: torch.Tensor) -> float:
        return float((coverage.sum(0) * torch.arange(64)).sum() / coverage.sum())

    assert abs(centre(clip.coverage[0]) - centre(clip.coverage[9]) - 12) < 0.6


def test_units_of_the_cameras_do_not_matter() -> None:
    """The same scene a thousand times smaller makes the same picture."""
    wall, cameras = _wall(), _cameras([0.0, 0.2])
    small = Gaussians(wall.means / 1000, wall.scales / 1000, wall.quats, wall.opacities, wall.sh)
    c2w = cameras.c2w.clone()
    c2w[:, :3, 3] /= 1000
    frames = render(small, Cameras(c2w, cameras.K, cameras.size)).frames
    assert torch.allclose(frames, render(wall, cameras).frames, atol=1e-3)
