import pytest
import torch
from torch import Tensor

from stages.distill.pixel_losses import MOTION, PERCEPTUAL, Perceptual, picture_loss, some_frames
from stages.metrics.lpips import LPIPS

WIDTHS = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
HEADS = [64, 128, 256, 512, 512]


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """A VGG of random kernels that keep the size of what passes through."""
    g = torch.Generator().manual_seed(0)
    tensors = {}
    for layer, (inside, outside) in enumerate(zip([3, *WIDTHS], WIDTHS, strict=False)):
        tensors[f"VGG16_0.Conv_{layer}.kernel"] = (
            torch.randn(outside, inside, 3, 3, generator=g) * (2 / (9 * inside)) ** 0.5
        )
        tensors[f"VGG16_0.Conv_{layer}.bias"] = torch.zeros(outside)
    for layer, width in enumerate(HEADS):
        tensors[f"NetLinLayer_{layer}.Conv_0.kernel"] = torch.rand(1, width, 1, 1, generator=g)
    return tensors


def test_equal_clips_have_no_loss() -> None:
    clip = torch.rand(1, 5, 3, 8, 8)
    assert float(picture_loss(clip, clip, None)) == 0


def test_a_shifted_brightness_is_no_motion() -> None:
    clip = torch.rand(1, 5, 3, 8, 8)
    assert float(picture_loss(clip + 0.1, clip, None)) == pytest.approx(0.1, abs=1e-5)
    flicker = 0.1 * torch.tensor([1.0, -1, 1, -1, 1]).reshape(1, 5, 1, 1, 1)
    assert float(picture_loss(clip + flicker, clip, None)) == pytest.approx(0.1 + MOTION * 0.2, abs=1e-5)


def test_the_perceptual_part_is_lpips(weights: dict[str, Tensor]) -> None:
    made, truth = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    perceptual = Perceptual(weights)
    expected = torch.cat([LPIPS("vgg", weights)(made[[k]], truth[k]) for k in (0, 1)]).mean()
    torch.testing.assert_close(perceptual(made, truth), expected.float())
    difference = picture_loss(made[None], truth[None], perceptual) - picture_loss(made[None], truth[None], None)
    torch.testing.assert_close(difference, PERCEPTUAL * expected.float(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("value", [None, 0.0, 1.0])
def test_gradients_reach_the_frames(weights: dict[str, Tensor], value: float | None) -> None:
    made = torch.rand(1, 3, 32, 32) if value is None else torch.full((1, 3, 32, 32), value)
    made.requires_grad_()
    Perceptual(weights)(made, torch.rand(1, 3, 32, 32)).backward()
    assert made.grad is not None
    assert bool(torch.isfinite(made.grad).all())
    assert float(made.grad.abs().max()) > 0


def test_some_frames_are_drawn_once() -> None:
    def seen(made: Tensor, truth: Tensor) -> Tensor:
        assert torch.equal(made, truth)
        return made.flatten(1)[:, 0]

    frames = torch.arange(9.0).reshape(9, 1, 1, 1)
    some = some_frames(seen, 3, torch.Generator().manual_seed(0))
    assert torch.equal(some(frames, frames), some(frames, frames))
    assert some(frames, frames).shape == (3,)
    others = [some_frames(seen, 3, torch.Generator().manual_seed(seed))(frames, frames).tolist() for seed in range(5)]
    assert len({tuple(chosen) for chosen in others}) > 1
