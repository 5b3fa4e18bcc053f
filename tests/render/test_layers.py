"""Gaussians of two photographs are drawn apart and blended: the nearer photograph counts more, a lone one fully."""

import math

import pytest
import torch
from torch import Generator, Tensor

from stages.errors import InputError
from stages.render import BEHIND, SURFACE_ALPHA, blend_layers, nearness, render
from stages.scene import Cameras, Exposure, Gaussians, Views, colours_to_sh
from stages.splat import Drawing

SIZE = (24, 32)
RED, BLUE = torch.tensor([0.9, 0.2, 0.1]), torch.tensor([0.1, 0.3, 0.8])


def cameras(*shifts: float) -> Cameras:
    c2w = torch.eye(4).repeat(len(shifts), 1, 1)
    c2w[:, 0, 3] = torch.tensor(shifts)
    K = torch.tensor([[30.0, 0, 16], [0, 30, 12], [0, 0, 1]]).expand(len(shifts), 3, 3)
    return Cameras(c2w, K, SIZE)


def wall(colour: Tensor, photograph: int, depth: float = 2.0) -> Gaussians:
    y, x = torch.meshgrid(torch.linspace(-1.5, 1.5, 60), torch.linspace(-2.5, 2.5, 90), indexing="ij")
    means = torch.stack([x, y, torch.full_like(x, depth)], -1).reshape(-1, 3)
    g, index = len(means), torch.full((means.shape[0],), photograph, dtype=torch.uint8)
    sh = colours_to_sh(colour.expand(g, 3))
    return Gaussians(
        means, torch.full((g, 3), 0.05), torch.tensor([1.0, 0, 0, 0]).expand(g, 4), torch.full((g,), 0.98), sh, index
    )


def both(a: Gaussians, b: Gaussians) -> Gaussians:
    return Gaussians(*(torch.cat(pair) for pair in zip(vars(a).values(), vars(b).values(), strict=True)))


def views(first: Tensor, second: Tensor, depth: float = 2.0) -> Views:
    """Two photographs of one colour each, 0.4 units apart, of a wall at this depth."""
    images = torch.stack([first, second])[..., None, None].expand(2, 3, *SIZE)
    return Views(images, cameras(0.0, 0.4), torch.full((2, *SIZE), depth))


def drawing(seed: int) -> Drawing:
    g = Generator().manual_seed(seed)
    alpha = torch.rand(2, 4, 5, generator=g) * (torch.rand(2, 4, 5, generator=g) < 0.8)
    return Drawing(
        torch.rand(2, 3, 4, 5, generator=g) * alpha[:, None],
        alpha,
        (1 + torch.rand(2, 4, 5, generator=g)) * (alpha > 0),
    )


def test_nearness_is_that_of_the_camera_centres() -> None:
    found = nearness(cameras(0.0, 0.1, 0.4), cameras(0.0, 0.4))
    assert torch.allclose(found, torch.tensor([[1.0, 0.0], [0.75, 0.25], [0.0, 1.0]]), atol=1e-6)


def test_a_surface_of_both_is_mixed_by_nearness() -> None:
    scene = both(wall(RED, 0), wall(BLUE, 1))
    as_they_are = Exposure.same()
    clip = render(scene, cameras(0.0, 0.1, 0.4), views=views(RED, BLUE), exposure=as_they_are)
    for frame, share in zip(clip.frames[:, :, 12, 16], (1.0, 0.75, 0.0), strict=True):
        assert torch.allclose(frame, share * RED + (1 - share) * BLUE, atol=0.01)


def test_what_one_photograph_alone_shows_is_shown_as_it_is() -> None:
    alone = wall(RED, 0)
    scene = both(alone, wall(BLUE, 1)[:0])
    layered = render(scene, cameras(0.3), views=views(RED, BLUE), exposure=Exposure.same())
    plain = render(Gaussians(alone.means, alone.scales, alone.quats, alone.opacities, alone.sh), cameras(0.3))
    assert layered.coverage is not None
    assert plain.coverage is not None
    assert layered.depth is not None
    shown = plain.coverage > 0.99
    assert float((layered.frames - plain.frames).abs().amax(1)[shown].max()) < 2e-3
    assert float((layered.depth - 2)[shown].abs().max()) < 1e-3
    assert torch.allclose(layered.coverage, plain.coverage, atol=0.05)


def test_layers_need_the_depth_of_the_photographs() -> None:
    with pytest.raises(InputError, match="no depth"):
        render(wall(RED, 0), cameras(0.3), views=Views(torch.zeros(2, 3, *SIZE), cameras(0.0, 0.4)))


def test_blend_equals_the_loop_over_pixels() -> None:
    layers, near = (drawing(1), drawing(2)), torch.tensor([[0.3, 0.7], [1.0, 0.0]])
    found = blend_layers(*layers, near)
    for n in range(2):
        for y in range(4):
            for x in range(5):
                alphas = [float(layer.alpha[n, y, x]) for layer in layers]
                depths = [float(layer.depth[n, y, x]) for layer in layers]
                surfaces = [depth for depth, alpha in zip(depths, alphas, strict=True) if alpha > SURFACE_ALPHA] or [
                    max(depths)
                ]
                weights = [
                    alpha
                    * (
                        float(near[n, k]) * math.exp(-((max(0.0, depth / max(min(surfaces), 1e-12) - 1) / BEHIND) ** 2))
                        + 1e-6
                    )
                    for k, (alpha, depth) in enumerate(zip(alphas, depths, strict=True))
                ]
                total = max(sum(weights), 1e-12)
                alpha = 1 - (1 - alphas[0]) * (1 - alphas[1])
                colour = sum(
                    w / total * layer.image[n, :, y, x] / max(a, 1e-3)
                    for w, layer, a in zip(weights, layers, alphas, strict=True)
                )
                assert torch.allclose(found.image[n, :, y, x], colour * alpha, atol=1e-5)
                assert float(found.alpha[n, y, x]) == pytest.approx(alpha, abs=1e-6)
                assert float(found.depth[n, y, x]) == pytest.approx(min(surfaces), abs=1e-6)


def test_a_shared_border_stays_at_the_edge_of_the_frame() -> None:
    images = torch.full((2, 3, *SIZE), 0.6)
    for width, value in ((4, 0.2), (3, 0.0)):  # pixels that are mixed with the border, and the border
        side = slice(width, -width)
        frame = torch.ones(SIZE, dtype=torch.bool)
        frame[side, side] = False
        images[..., frame] = value
    framed = Views(images, cameras(0.0, 4.0), torch.full((2, *SIZE), 2.0))
    # The second photograph has no Gaussians. So all of its own are put back, and these pixels
    # would appear 3 px further inside.
    frames = render(wall(torch.full((3,), 0.6), 0), cameras(3.8), framed).frames
    assert float(frames[:, :, 5:-5, 5:-5].amax(1).min()) > 0.5, "nothing of the border is inside the frame"


def test_gaussians_that_do_not_know_their_photograph_are_not_parted() -> None:
    scene = wall(RED, 0)
    with pytest.raises(InputError, match="photograph"):
        Gaussians(scene.means, scene.scales, scene.quats, scene.opacities, scene.sh).of_photograph(0)
