"""Exposure, alignment, look-up and closed surfaces: what frames take from the two photographs."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Generator, Tensor

from stages.exposure import estimate_exposure
from stages.geometry import pixel_centres, resize_intrinsics
from stages.metrics.image import psnr as psnr_of_frames
from stages.prior.closed import SIZE as CLOSED
from stages.prior.closed import closed
from stages.render import render
from stages.render.alignment import optical_flow
from stages.render.own_view import NEAR
from stages.render.surfaces import OPAQUE, SMALL, close, sized
from stages.scene import Cameras, Exposure, Gaussians, Views, colours_to_sh
from stages.splat import Drawing, draw

SIZE = (48, 64)
F, Z, SHIFT = 60.0, 2.0, 0.2  # focal length, px; depth of the wall; distance of the photographs


def cameras(*places: tuple[float, float]) -> Cameras:
    """Cameras at (x, z) that look along z."""
    c2w = torch.eye(4).repeat(len(places), 1, 1)
    c2w[:, 0, 3], c2w[:, 2, 3] = torch.tensor(places).T
    K = torch.tensor([[F, 0, SIZE[1] / 2], [0, F, SIZE[0] / 2], [0, 0, 1]]).expand(len(places), 3, 3)
    return Cameras(c2w, K, SIZE)


def pattern(x: Tensor, y: Tensor) -> Tensor:
    """The picture on the wall, smooth but sharper than the renderer's blur, [3, ...]."""
    return torch.stack([0.5 + 0.2 * torch.sin(9 * x + 2 * k) * torch.cos(11 * y + k) for k in range(3)])


def photograph(x: float) -> Tensor:
    """The wall, seen from (x, 0), [3, h, w]."""
    centres = pixel_centres(*SIZE, like=torch.zeros(1))
    return pattern((centres[..., 0] - SIZE[1] / 2) / F * Z + x, (centres[..., 1] - SIZE[0] / 2) / F * Z)


def scene(first: Tensor, second: Tensor) -> tuple[Gaussians, Views]:
    """One Gaussian for each pixel of two photographs of the wall."""
    photographs = cameras((0.0, 0.0), (SHIFT, 0.0))
    parts = []
    for k, picture in enumerate((first, second)):
        centres = pixel_centres(*SIZE, like=torch.zeros(1)).reshape(-1, 3)
        means = (centres - torch.tensor([SIZE[1] / 2, SIZE[0] / 2, 0])) * torch.tensor([Z / F, Z / F, Z])
        g = len(means)
        parts.append(
            (
                means + photographs.c2w[k, :3, 3],
                torch.full((g, 3), 0.1 * Z / F),
                torch.tensor([1.0, 0, 0, 0]).expand(g, 4),
                torch.full((g,), 0.98),
                colours_to_sh(picture.flatten(1).T),
                torch.full((g,), k, dtype=torch.uint8),
            )
        )
    gaussians = Gaussians(*(torch.cat(pair) for pair in zip(*parts, strict=True)))
    return gaussians, Views(torch.stack([first, second]), photographs, torch.full((2, *SIZE), Z))


def psnr(a: Tensor, b: Tensor) -> float:
    """PSNR of two images [3, h, w], dB."""
    return float(psnr_of_frames(a[None], b[None]))


INNER = (slice(None), slice(6, -6), slice(10, -10))  # what both photographs show


def test_frames_are_as_sharp_as_the_photographs() -> None:
    gaussians, views = scene(photograph(0.0), photograph(SHIFT))
    between = render(gaussians, cameras((SHIFT / 2, 0.0)), views=views).frames[0]
    blurred = draw(gaussians, cameras((SHIFT / 2, 0.0))).image[0]
    truth = photograph(SHIFT / 2)
    assert psnr(between[INNER], truth[INNER]) > psnr(blurred[INNER], truth[INNER]) + 3


def test_a_frame_at_a_photographs_camera_is_the_photograph() -> None:
    """Even where its Gaussians were removed, and where the other photograph shows something else."""
    first, second = photograph(0.0), photograph(SHIFT)
    gaussians, views = scene(first, second)
    x, y = gaussians.means[:, 0], gaussians.means[:, 1]
    hole = (gaussians.photograph == 0) & (x.abs() < 0.25) & (y.abs() < 0.25)
    brighter = Views(torch.stack([first, (second + 0.3).clamp(0, 1)]), views.cameras, views.depth)
    clip = render(gaussians[~hole], cameras((0.0, 0.0), (SHIFT, 0.0)), views=brighter)
    assert psnr(clip.frames[0], first) > 40
    assert psnr(clip.frames[1], brighter.images[1]) > 40


def test_removed_gaussians_stay_removed_away_from_their_photograph() -> None:
    gaussians, views = scene(photograph(0.0), photograph(SHIFT))
    first = gaussians.of_photograph(0)
    hole = (first.means[:, 0].abs() < 0.25) & (first.means[:, 1].abs() < 0.25)
    clip = render(first[~hole], cameras((0.0, 0.0), ((1 - NEAR) * SHIFT * 1.01, 0.0)), views=views)
    assert clip.coverage is not None
    assert clip.coverage[0, 24, 32] > 0.9
    assert clip.coverage[1, 24, 32] < 0.1


def test_the_exposure_is_found_in_spite_of_outliers() -> None:
    gain, offset = torch.tensor([0.7, 0.8, 1.1]), torch.tensor([0.05, 0.0, -0.03])
    first = photograph(0.0)
    second = photograph(SHIFT) * gain[:, None, None] + offset[:, None, None]
    second[:, :12, :16] = torch.rand(3, 12, 16, generator=Generator().manual_seed(0))
    found = estimate_exposure(scene(first, second)[1])
    assert torch.allclose(found.gain, gain, atol=0.03)
    assert torch.allclose(found.offset, offset, atol=0.02)


def test_the_exposure_passes_from_one_photograph_to_the_other() -> None:
    gain = torch.tensor([0.6, 0.7, 0.8])[:, None, None]
    first, second = photograph(0.0), photograph(SHIFT) * gain
    gaussians, views = scene(first, second)
    places = [(share * SHIFT, 0.0) for share in (0.0, 0.5, 1.0)]
    frames = render(gaussians, cameras(*places), views=views).frames
    for frame, (x, _), share in zip(frames, places, (0.0, 0.5, 1.0), strict=True):
        assert psnr(frame[INNER], (photograph(x) * gain**share)[INNER]) > 33
    # What the first photograph alone shows gets the exposure of the frame too, unless both are to be left as they are.
    alone, middle = gaussians.of_photograph(0), photograph(SHIFT / 2)[INNER]
    matched, kept = (
        render(alone, cameras(places[1]), views=views, exposure=exposure).frames[0][INNER]
        for exposure in (estimate_exposure(views), Exposure.same())
    )
    assert psnr(matched, middle * gain**0.5) > 33
    assert psnr(kept, middle) > 33


def test_without_common_points_both_count_as_equally_exposed() -> None:
    views = scene(photograph(0.0), photograph(SHIFT) * 0.5)[1]
    apart = torch.stack([torch.full(SIZE, Z), torch.full(SIZE, 3 * Z)])
    found = estimate_exposure(Views(views.images, views.cameras, apart))
    assert torch.equal(found.gain, torch.ones(3))
    assert torch.equal(found.offset, torch.zeros(3))


def test_optical_flow_finds_a_shift_and_stays_0_where_nothing_can_be_compared() -> None:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    picture = lambda dx, dy: pattern((x - dx) / 25, (y - dy) / 25)[None]  # noqa: E731
    everywhere = torch.ones(1, 1, 64, 96)
    flow = optical_flow(picture(0, 0), picture(1.6, -0.9), everywhere)
    inner = flow[0, :, 10:-10, 10:-10].mean((1, 2))
    assert torch.allclose(inner, torch.tensor([1.6, -0.9]), atol=0.15)
    assert float(optical_flow(picture(0, 0), picture(1.6, -0.9), 0 * everywhere).abs().max()) == 0


def test_two_layers_that_are_a_pixel_apart_meet() -> None:
    """The second photograph is shifted by 1.5 px, as a wrong pose would shift it."""
    wrong = 1.5 * Z / F
    gaussians, views = scene(photograph(0.0), photograph(SHIFT + wrong))
    middle = render(gaussians, cameras((SHIFT / 2, 0.0)), views=views).frames[0]
    halfway = photograph((SHIFT + wrong) / 2)
    doubled = (photograph(SHIFT / 2) + photograph(SHIFT / 2 + wrong)) / 2
    assert psnr(middle[INNER], halfway[INNER]) > psnr(doubled[INNER], halfway[INNER]) + 3


def test_the_prior_closes_surfaces_in_larger_windows_and_from_nearer() -> None:
    gaussians, views = scene(photograph(0.0), photograph(SHIFT))
    cloud = closed(gaussians, views.cameras)
    h, w = SIZE
    for scale in (1, 2, 4):
        for z in (0.0, Z / 2):
            near = cameras((SHIFT / 2, z))
            zoomed = Cameras(near.c2w, resize_intrinsics(near.K, SIZE, (h * scale, w * scale)), (h * scale, w * scale))
            inner = (0, slice(6 * scale, -6 * scale), slice(6 * scale, -6 * scale))
            assert float(draw(cloud, zoomed).alpha[inner].min()) > 0.9
    window = Cameras(near.c2w, resize_intrinsics(near.K, SIZE, (h * 4, w * 4)), (h * 4, w * 4))
    assert float(draw(gaussians, window).alpha.mean()) < 0.6, "as the network made it"


def test_closing_keeps_what_is_larger_and_more_opaque() -> None:
    gaussians, views = scene(photograph(0.0), photograph(SHIFT))
    large = replace(gaussians, scales=gaussians.scales * 20, opacities=torch.ones(len(gaussians)))
    cloud = closed(large, views.cameras)
    assert torch.equal(cloud.scales, large.scales)
    assert torch.isfinite(cloud.opacities).all()
    assert float(cloud.opacities.min()) > 0.999


def test_frames_show_closed_gaussians_as_large_as_they_need() -> None:
    gaussians, views = scene(photograph(0.0), photograph(SHIFT))
    first = closed(gaussians, views.cameras).of_photograph(0)
    own, pixel = views.cameras[[0]], Z / F
    for z, magnification in ((0.0, 1.0), (-1.0, 1.0), (Z / 2, 2.0)):
        expected = math.sqrt(CLOSED**2 - (CLOSED**2 - SMALL**2) / magnification**2) * pixel
        found = sized(first, own, cameras((0.0, z))).scales
        assert torch.allclose(found, torch.full_like(found, expected), rtol=1e-4)
    large = replace(first, scales=first.scales * 1.5)
    assert torch.equal(sized(large, own, own).scales, large.scales)


def test_a_surface_stays_closed_from_a_third_of_the_distance() -> None:
    gaussians, views = scene(photograph(0.0), photograph(SHIFT))
    first, near = closed(gaussians, views.cameras).of_photograph(0), cameras((0.0, Z * 2 / 3))
    assert float(draw(gaussians.of_photograph(0), near).alpha.mean()) < 0.7
    assert float(draw(sized(first, views.cameras[[0]], near), near).alpha[0, 4:-4, 4:-4].min()) > 0.9


def test_small_holes_in_one_surface_are_closed_and_others_stay() -> None:
    alpha, depth = torch.ones(1, 20, 20), torch.full((1, 20, 20), Z)
    depth[..., 12:] = 2 * Z
    for row, column in ((5, 5), (5, 12), (0, 0)):  # within a surface, at an edge, in the corner of the frame
        alpha[0, row, column] = 0.2
    alpha[0, 14:19, 3:8] = 0  # a large hole
    image = torch.rand(1, 3, 20, 20, generator=Generator().manual_seed(1)) * alpha[:, None]
    closed = close(Drawing(image, alpha, depth))
    assert closed.alpha[0, 5, 5] > OPAQUE
    assert closed.depth[0, 5, 5] == pytest.approx(Z, rel=1e-5)
    window = image[0, :, 3:8, 3:8].flatten(1)
    others = torch.cat([window[:, :12], window[:, 13:]], 1).mean(1)
    assert torch.allclose(closed.image[0, :, 5, 5], others, atol=1e-5)
    assert closed.alpha[0, 5, 12] == closed.alpha[0, 0, 0] == alpha[0, 0, 0]
    assert float(closed.alpha[0, 15:18, 4:7].max()) == 0
    assert torch.equal(closed.image[..., :14, 6:], image[..., :14, 6:])


def test_exposure_there_and_back_is_the_identity() -> None:
    exposure = Exposure(torch.tensor([0.5, 1.0, 2.0]), torch.tensor([0.1, 0.0, -0.1]))
    colours = torch.rand(1, 3, 4, 5, generator=Generator().manual_seed(2))
    there = exposure.bring(colours, 0, torch.ones(1))
    assert torch.allclose(exposure.bring(there, 1, torch.ones(1)), colours, atol=1e-6)
    half = exposure.bring(colours, 0, torch.tensor([0.5]))
    assert math.isclose(float(half[0, 1, 0, 0]), float(colours[0, 1, 0, 0]), rel_tol=1e-6)


def test_colours_between_the_exposures_go_back_to_those_of_the_photographs() -> None:
    exposure = Exposure(torch.tensor([0.6, 0.8, 1.2]), torch.tensor([0.05, 0.0, -0.02]))
    first, second = photograph(0.0), photograph(SHIFT) * 0.8
    images = torch.stack([first, second])
    between, _ = scene(*exposure.half_way(images))
    found = exposure.own_colours(between)
    for k in (0, 1):
        assert torch.allclose(found.of_photograph(k).colours, images[k].flatten(1).T, atol=1e-5)
