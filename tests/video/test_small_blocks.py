"""The student at work, latent frame by latent frame, computes what its forward pass does."""

import pytest
import torch
from torch import Tensor

from stages.video.one_step import several_steps
from stages.video.small_blocks import ClipPixels, small_backbone
from stages.video.small_codec import CHANNELS, encode
from stages.video.small_condition import condition
from stages.video.small_network import Block
from stages.video.small_student import dtype_on
from stages.video.warp import Warped
from tests.video.test_small_network import trained


def clip_of(frames: int, size: tuple[int, int]) -> ClipPixels:
    """Random pixels; half of those of the warped photographs do not show the surface."""
    g = torch.Generator().manual_seed(1)
    weight = torch.rand(frames, 2, *size, generator=g)
    warped = Warped(torch.rand(frames, 2, 3, *size, generator=g), weight * (weight > 0.5))
    render, coverage = torch.rand(frames, 3, *size, generator=g), torch.rand(frames, *size, generator=g)
    return ClipPixels(render, coverage, torch.rand(2, 3, *size, generator=g), warped)


def known(clip: ClipPixels) -> tuple[Tensor, Tensor]:
    """The latent and the condition of a clip."""
    latent, warped = encode(clip.frames[None]), Warped(clip.warped.colours[None], clip.warped.weight[None])
    return latent, condition(latent, clip.coverage[None], clip.photographs[None], warped)


@pytest.mark.parametrize(("frames", "size"), [(5, (16, 16)), (13, (32, 48))])
def test_it_predicts_what_the_forward_pass_does(frames: int, size: tuple[int, int]) -> None:
    network, clip, t = trained(), clip_of(frames, size), torch.tensor([459])
    latent, given = known(clip)
    x_t = torch.randn(latent.shape, generator=torch.Generator().manual_seed(2))
    slow = network(torch.cat([x_t, given], 2), t).detach()
    fast = small_backbone(network, latent, clip)(x_t, t)
    error = (fast - slow).abs() / slow.std()
    assert float(error[:, 1:].max()) < 2e-4
    # Only the lowest temporal band of the first latent frame is decoded.
    assert float(error[:, 0, : CHANNELS // 4].max()) < 2e-4


def test_bfloat16_hardly_changes_what_is_predicted() -> None:
    """The features compute in it; what reads and makes pixels does not."""
    clip, t = clip_of(9, (32, 32)), torch.tensor([459])
    latent, _ = known(clip)
    x_t = torch.randn(latent.shape, generator=torch.Generator().manual_seed(2))
    exact, fast = (
        small_backbone(trained().computing_in(dtype), latent, clip)(x_t, t) for dtype in (torch.float32, torch.bfloat16)
    )
    assert fast.dtype == torch.float32
    error = (fast - exact).norm() / exact.norm()
    assert 0 < float(error) < 0.02


def test_bfloat16_is_for_a_cpu_that_has_instructions_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    half, full = torch.bfloat16, torch.float32
    for has_them, may_use, dtype in ((True, "AVX512", half), (True, "AVX2", full), (False, "AVX512", full)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has_them=has_them: has_them)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda may_use=may_use: may_use)
        assert dtype_on(torch.device("cpu")) == dtype
        assert dtype_on(torch.device("cuda")) == torch.float32


@pytest.mark.parametrize("steps", [1, 3])
def test_a_sampler_needs_no_condition(steps: int) -> None:
    network, clip, t = trained(), clip_of(9, (16, 32)), torch.tensor([459])
    latent, given = known(clip)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        slow = several_steps(network, latent, given, t, noise, steps)
    fast = several_steps(small_backbone(network, latent, clip), latent, latent[:, :, :0], t, noise, steps)
    torch.testing.assert_close(fast[:, 1:], slow[:, 1:], atol=1e-3, rtol=1e-3)


def test_a_block_without_gradients_is_the_block_with_them() -> None:
    torch.manual_seed(0)
    block = Block(16, 8)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x, time = torch.randn(6, 16, 5, 7), torch.randn(6, 8)
    slow = block(x, time, 3).detach()
    with torch.no_grad():
        fast = block(x, time, 3)
    torch.testing.assert_close(fast, slow, atol=1e-4, rtol=1e-4)
