"""The parts of a frame in C++ against their references in torch."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.render import kernel
from stages.render.layers import blend_in_torch, blend_layers
from stages.render.photographs import Photograph
from stages.render.surfaces import close, close_in_torch
from stages.scene import Cameras, Exposure, Views
from stages.splat import Drawing, backend

SIZE, SMALL = (45, 64), (30, 43)
pytestmark = pytest.mark.skipif(backend("cpu") != "c++", reason="there is no C++ compiler")


def smooth(*shape: int) -> Tensor:
    """Random maps without jumps from pixel to pixel, in [0, 1]."""
    return F.interpolate(torch.rand(*shape[:-2], 6, 8), shape[-2:], mode="bicubic").clamp(0, 1)


def layer(frames: int = 3) -> Drawing:
    """A layer with soft edges, small holes and places without anything."""
    h, w = SIZE
    alpha = smooth(frames, 1, h, w)[:, 0].mul(4).sub(0.8).clamp(0, 1)
    alpha = torch.where(torch.rand(frames, h, w) < 0.05, 0.4 * alpha, alpha)
    depth = torch.where(alpha > 0, 2 + 0.5 * smooth(frames, 1, h, w)[:, 0], 0.0)
    return Drawing(smooth(frames, 3, h, w) * alpha[:, None], alpha, depth)


def test_small_holes_are_closed_as_in_torch() -> None:
    drawing = layer()
    fast, slow = close(drawing), close_in_torch(drawing)
    assert (slow.alpha - drawing.alpha).abs().max() > 0.3, "some are closed"
    for name in ("image", "alpha", "depth"):
        torch.testing.assert_close(getattr(fast, name), getattr(slow, name), atol=1e-5, rtol=1e-5)


def test_layers_are_blended_as_in_torch() -> None:
    first, second = layer(), layer()
    near = torch.tensor([[1.0, 0.0], [0.3, 0.7], [0.5, 0.5]])
    fast, slow = blend_layers(first, second, near), blend_in_torch(first, second, near)
    for name in ("image", "alpha", "depth"):
        torch.testing.assert_close(getattr(fast, name), getattr(slow, name), atol=1e-5, rtol=1e-5)


def photograph(full: bool) -> tuple[Photograph, Cameras]:
    """A photograph, and three cameras beside it whose frames reach beyond it."""
    K = torch.tensor([[40.0, 0, 21.5], [0, 40, 15], [0, 0, 1]], dtype=torch.float64).repeat(2, 1, 1)
    c2w = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    c2w[1, 0, 3] = 0.2
    both = Cameras(c2w, K, SMALL)
    images = smooth(2, 3, *SMALL)
    large = Views(smooth(2, 3, 90, 128), Cameras(c2w, K * torch.tensor([[128 / 43], [3.0], [1]]), (90, 128)))
    views = Views(images, both, torch.full((2, *SMALL), 2.0), large if full else None)
    usable = torch.ones(SMALL, dtype=torch.bool)
    usable[:3] = False
    exposure = Exposure(torch.tensor([1.2, 0.9, 1.0]), torch.tensor([0.02, 0.0, -0.03]))
    pose = torch.eye(4, dtype=torch.float64).repeat(3, 1, 1)
    pose[:, 0, 3] = torch.tensor([0.2, 0.1, -0.4])
    pose[2, :2, :2] = torch.tensor([[0.8, -0.6], [0.6, 0.8]], dtype=torch.float64)
    K_frame = (K[0] * torch.tensor([[64 / 43], [1.5], [1]])).repeat(3, 1, 1)
    offset = 2 * smooth(1, 2, *SMALL)[0] - 1
    light = 0.2 * smooth(1, 3, *SMALL)[0] - 0.1
    return Photograph(views, 1, exposure, offset, light, usable), Cameras(pose, K_frame, SIZE)


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_photographs_are_looked_up_as_in_torch(full: bool, threads: int) -> None:
    source, cameras = photograph(full)
    drawing, near = layer(), torch.tensor([1.0, 0.5, 0.0])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        fast = source.sharpened(drawing, cameras, near)
    finally:
        torch.set_num_threads(before)
    slow = source.sharpened_in_torch(drawing, cameras, near)
    assert (slow.image - drawing.image).abs().mean() > 0.02, "colours of the photograph are shown"
    error = (fast.image - slow.image).abs()
    # A pixel on the very edge of the photograph may fall to either side.
    assert error.mean() < 1e-4
    assert (error > 2e-3).float().mean() < 2e-3


def test_gradients_and_other_numbers_are_left_to_torch() -> None:
    assert kernel.takes(torch.zeros(1))
    assert not kernel.takes(torch.zeros(1, dtype=torch.float64))
    assert not kernel.takes(torch.zeros(1, requires_grad=True))
