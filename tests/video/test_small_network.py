import pytest
import torch
from torch import Tensor

from stages.video.one_step import one_step
from stages.video.schedule import ddim_step
from stages.video.small_codec import CHANNELS, encode
from stages.video.small_condition import CONDITION_CHANNELS, WARPED_AT, condition, photographs_of, pixels_of, render_of
from stages.video.small_network import SMALL_VIDEO, Block, SmallVideo, SmallVideoConfig
from stages.video.warp import Warped, blend

TINY = SmallVideoConfig(channels=(16, 16, 32), encoder=(1, 1), middle=1, decoder=(1, 1), heads=2, time_channels=16)


def example(frames: int = 9, size: tuple[int, int] = (16, 32)) -> tuple[Tensor, Tensor, Tensor]:
    """A render's latent, its condition, and noise."""
    g = torch.Generator().manual_seed(0)
    render, photographs = torch.rand(1, frames, 3, *size, generator=g), torch.rand(1, 2, 3, *size, generator=g)
    warped, weight = torch.rand(1, frames, 2, 3, *size, generator=g), torch.rand(1, frames, 2, *size, generator=g)
    latent, coverage = encode(render), torch.rand(1, frames, *size, generator=g)
    return (
        latent,
        condition(latent, coverage, photographs, Warped(warped, weight)),
        torch.randn(latent.shape, generator=g),
    )


def blend_of(known: Tensor) -> Tensor:
    """The latent of the plain blend of what a condition holds."""
    frames, warped = pixels_of(known)
    return encode(blend(frames, warped.colours, warped.weight))


def trained(config: SmallVideoConfig = TINY) -> SmallVideo:
    """A network in which no layer is zero."""
    torch.manual_seed(0)
    network = SmallVideo(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


@pytest.mark.parametrize("t", [0, 459, 999])
def test_an_untrained_network_returns_the_blend(t: int) -> None:
    latent, known, noise = example()
    out = one_step(SmallVideo(TINY), latent, known, torch.tensor([t]), noise)
    torch.testing.assert_close(out, blend_of(known), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(out, latent, atol=1e-2)


def test_noise_is_ignored_at_first_and_learned_from() -> None:
    latent, known, noise = example()
    network = SmallVideo(TINY)
    torch.nn.init.normal_(network.head.weight, std=0.02)
    first, second = (one_step(network, latent, known, torch.tensor([459]), x) for x in (noise, -noise))
    torch.testing.assert_close(first, second, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(first, blend_of(known), atol=1e-3)
    first.square().mean().backward()
    assert float(network.stem.weight.grad[:, :CHANNELS].abs().max()) > 0


@pytest.mark.parametrize(("frames", "size"), [(5, (16, 16)), (9, (24, 40)), (13, (48, 16))])
def test_shapes_of_any_size(frames: int, size: tuple[int, int]) -> None:
    latent, known, noise = example(frames, size)
    assert known.shape == (1, *latent.shape[1:2], CONDITION_CHANNELS, *latent.shape[3:])
    v = trained()(torch.cat([noise, known], 2), torch.tensor([459]))
    assert v.shape == latent.shape
    assert bool(torch.isfinite(v).all())


def test_the_condition_holds_what_it_says() -> None:
    g = torch.Generator().manual_seed(0)
    render, photographs, coverage = (
        torch.rand(1, 9, 3, 8, 8, generator=g),
        torch.rand(1, 2, 3, 8, 8, generator=g),
        torch.ones(1, 9, 8, 8),
    )
    latent = encode(render)
    warped, weight = torch.rand(1, 9, 2, 3, 8, 8, generator=g), torch.rand(1, 9, 2, 8, 8, generator=g)
    weight[:, :, 1] = 0
    known = condition(latent, coverage, photographs, Warped(warped, weight))
    torch.testing.assert_close(render_of(known), latent)
    torch.testing.assert_close(photographs_of(known)[:, 1], encode(photographs[:, [1]])[:, 0, :48])
    torch.testing.assert_close(known[:, :, CHANNELS : CHANNELS + 64], torch.ones(1, 3, 64, 2, 2))
    assert float(known[:, 1, CHANNELS + 64 : WARPED_AT].abs().max()) == 0
    frames, back = pixels_of(known)
    torch.testing.assert_close(frames, render, atol=1e-5, rtol=0)
    torch.testing.assert_close(back.weight, weight)
    torch.testing.assert_close(back.colours[:, :, 0], warped[:, :, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(back.colours[:, :, 1], render, atol=1e-5, rtol=0)


@pytest.mark.parametrize("end", [0, 1])
def test_both_photographs_reach_every_frame(end: int) -> None:
    torch.manual_seed(0)
    render, photographs = torch.rand(1, 17, 3, 16, 32), torch.rand(1, 2, 3, 16, 32)
    latent, network = encode(render), trained()

    def v(images: Tensor) -> Tensor:
        known = condition(
            latent,
            torch.ones(1, 17, 16, 32),
            images,
            Warped(torch.rand(1, 17, 2, 3, 16, 32), torch.zeros(1, 17, 2, 16, 32)),
        )
        return network(torch.cat([torch.zeros_like(latent), known], 2), torch.tensor([459]))

    changed = photographs.clone()
    changed[:, end] = torch.rand(1, 3, 16, 32)
    difference = (v(changed) - v(photographs)).abs().amax((0, 2, 3, 4))
    assert bool((difference > 1e-6).all())


def test_frame_by_frame_is_the_same_as_all_at_once() -> None:
    """Without gradients a block works on one frame after the other."""
    block = Block(16, 8)
    torch.nn.init.normal_(block.narrow.weight)
    x, time = torch.randn(6, 16, 5, 7), torch.randn(6, 8)
    with torch.no_grad():
        one_by_one = block(x, time, 3)
    together = block(x, time, 3)
    assert together.requires_grad
    torch.testing.assert_close(one_by_one, together, atol=1e-5, rtol=1e-5)


def test_every_weight_learns_once_the_last_layer_has() -> None:
    _, known, noise = example()
    network = trained()
    v = network(torch.cat([noise, known], 2), torch.tensor([459]))
    v.square().mean().backward()
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in network.parameters())


def test_steps_of_the_sampler_end_at_the_blend_while_untrained() -> None:
    _, known, x = example()
    network = SmallVideo(TINY)
    for t, s in ((999, 499), (499, -1)):
        v = network(torch.cat([x, known], 2), torch.tensor([t]))
        x = ddim_step(x, v, torch.tensor([t]), torch.tensor([s]))
    torch.testing.assert_close(x, blend_of(known), atol=1e-4, rtol=1e-4)


def test_the_shipped_size_fits() -> None:
    with torch.device("meta"):
        parameters = sum(p.numel() for p in SmallVideo(SMALL_VIDEO).parameters())
    assert parameters <= 12e6
