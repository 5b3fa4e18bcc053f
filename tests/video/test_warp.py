"""The photographs seen from the cameras of a clip."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.errors import InputError
from stages.geometry import project, unproject
from stages.scene import Cameras, Exposure, Views
from stages.splat import backend
from stages.video.warp import RENDER_WEIGHT, TRUST_SCALE, WINDOW, blend, warp, warp_in_torch

SIZE = (24, 32)
WALL = 3.0  # metres in front of the cameras


def cameras(*x: float) -> Cameras:
    c2w = torch.eye(4).repeat(len(x), 1, 1)
    c2w[:, 0, 3] = torch.tensor(x)
    K = torch.tensor([[30.0, 0, SIZE[1] / 2], [0, 30, SIZE[0] / 2], [0, 0, 1]])
    return Cameras(c2w, K.repeat(len(x), 1, 1), SIZE)


def wall(c: Cameras) -> Tensor:
    """What cameras see of a smoothly painted wall, [N, 3, h, w]."""
    points = unproject(torch.full((len(c), *SIZE), WALL), c.K, c.c2w)
    x, y = points[..., 0], points[..., 1]
    return torch.stack([0.5 + 0.3 * (2 * x).sin(), 0.5 + 0.3 * (2 * y).cos(), 0.5 + 0.3 * (x + y).sin()], 1)


def photographs() -> Views:
    both = cameras(0.0, 0.6)
    return Views(wall(both), both, torch.full((2, *SIZE), WALL))


def test_a_wall_looks_like_itself_from_everywhere_that_a_photograph_shows() -> None:
    path = cameras(0.0, 0.15, 0.6)
    found = warp(photographs(), path, torch.full((3, *SIZE), WALL))
    truth = wall(path)[:, None].expand(-1, 2, -1, -1, -1)
    seen = found.weight[:, :, None].expand_as(truth) > 0
    assert float(seen.float().mean()) > 0.5
    inside = seen & (torch.arange(SIZE[1]) > 1) & (torch.arange(SIZE[1]) < SIZE[1] - 2)
    assert float((found.colours - truth)[inside].abs().max()) < 0.01


def test_photographs_of_different_exposure_are_brought_to_that_of_the_frame() -> None:
    views, gain = photographs(), torch.tensor([0.7, 0.8, 0.9])[:, None, None]
    darker = Views(torch.stack([views.images[0], views.images[1] * gain]), views.cameras, views.depth)
    path = cameras(0.0, 0.3, 0.6)
    found = warp(darker, path, torch.full((3, *SIZE), WALL))
    for n, share in enumerate((0.0, 0.5, 1.0)):
        truth = (wall(path)[n] * gain**share)[:, :, 8:-8]
        for k in (0, 1):
            assert float((found.colours[n, k, :, :, 8:-8] - truth).abs().mean()) < 0.02


def unmoved(views: Views, _: int, __: Exposure) -> Tensor:
    return torch.zeros(2, *views.cameras.size)


def test_photographs_in_another_light_meet_half_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.video.warp.misalignment", unmoved)
    views, path, depth = photographs(), cameras(0.3), torch.full((1, *SIZE), WALL)
    darker = replace(views, images=torch.stack([views.images[0], views.images[1] - 0.08]))
    exposure = Exposure(torch.ones(3), torch.full((3,), 1e-6))  # it does not tell of the difference
    found, kept = warp(darker, path, depth, exposure), warp(darker, path, depth, Exposure.same())
    inside = slice(8, -8)
    for warped, expected in ((found, [-0.04, 0.04]), (kept, [0.0, 0.0])):
        changes = (warped.colours[0] - warp(views, path, depth, Exposure.same()).colours[0])[..., inside].mean(
            (1, 2, 3)
        )
        assert changes.tolist() == pytest.approx([expected[0], expected[1] - 0.08], abs=0.01)


def test_photographs_that_are_a_pixel_apart_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where depth or cameras are a little wrong."""
    stripes = (torch.arange(SIZE[1] + 8) * 0.8).sin() * 0.4 + 0.5
    views = photographs()
    moved = round(0.6 * 30 / WALL)
    images = torch.stack([stripes[k : k + SIZE[1]].expand(3, *SIZE) for k in (0, moved + 1)])  # 1 px too far
    views, depth = replace(views, images=images), torch.full((1, *SIZE), WALL)

    def apart() -> float:
        found = warp(views, cameras(0.3), depth)
        both = (found.weight > 0).all(1, keepdim=True).expand(-1, 3, -1, -1)
        return float((found.colours[:, 0] - found.colours[:, 1])[both].abs().mean())

    aligned = apart()
    monkeypatch.setattr("stages.video.warp.misalignment", unmoved)
    assert aligned < 0.4 * apart()


def test_the_nearer_photograph_counts_more() -> None:
    weight = warp(photographs(), cameras(0.0, 0.15, 0.6), torch.full((3, *SIZE), WALL)).weight
    middle = weight[..., SIZE[0] // 2, SIZE[1] // 2]
    torch.testing.assert_close(middle, torch.tensor([[1.0, 0], [0.75, 0.25], [0, 1]]))


def test_every_pixel_is_looked_up_where_it_projects_to() -> None:
    """The slow way, pixel by pixel: the photograph's nearest pixel. The photograph is flat around each of them."""
    views, path = photographs(), cameras(0.3)
    steps = torch.arange(SIZE[1] // 4).repeat_interleave(4).float() / 10 + 0.2  # black would be a border
    views = Views(steps.expand(2, 3, *SIZE), views.cameras, views.depth)
    found = warp(views, path, torch.full((1, *SIZE), WALL))
    for row in range(2, SIZE[0] - 2):
        for column in range(SIZE[1]):
            point = path.c2w[0, :3, 3] + WALL * torch.tensor([(column + 0.5 - 16) / 30, (row + 0.5 - 12) / 30, 1.0])
            pixel, z = project(point[None], views.cameras.K[0], views.cameras.c2w[0])
            x, y = pixel[0].tolist()
            inside = 0 < x < SIZE[1] and 0 < y < SIZE[0]
            assert (float(found.weight[0, 0, row, column]) > 0) == inside
            if inside and 1 <= x % 4 <= 3 and float(z) > 0:  # bicubic looks at two pixels on each side
                told = float(found.colours[0, 0, 0, row, column])
                assert told == pytest.approx(float(views.images[0, 0, math.floor(y), math.floor(x)]), abs=0.1)


def test_what_a_photograph_does_not_show_has_no_weight() -> None:
    views, path = photographs(), cameras(0.3)
    depth = torch.full((1, *SIZE), WALL)
    depth[0, 5, 20], depth[0, 6, 20] = 1.2 * WALL, 0  # behind the wall; nothing drawn
    weight = warp(views, path, depth).weight
    assert float(weight[0, :, 5:7, 20].max()) == 0
    assert float(weight[0, :, 8, 20].min()) > 0
    behind = Cameras(path.c2w @ torch.diag(torch.tensor([-1.0, 1, -1, 1])), path.K, SIZE)
    turned = warp(views, behind, depth)
    assert float(turned.weight.max()) == 0
    assert bool(torch.isfinite(turned.colours).all())


def test_the_plain_border_of_a_photograph_is_not_part_of_the_scene() -> None:
    path, depth = cameras(0.0, 0.3, 0.6), torch.full((3, *SIZE), WALL)
    views = photographs()
    framed = views.images.clone()
    framed[..., :3, :] = framed[..., -3:, :] = framed[..., :, :3] = framed[..., :, -3:] = 0
    found = warp(replace(views, images=framed), path, depth)
    shown = found.weight[:, :, None] > 0
    assert 0.2 < float(shown.float().mean()) < 0.5
    assert float(found.colours.where(shown, 1.0).amax(2).min()) > 0.3, "no dark thread where a photograph ends"


def test_without_depth_nothing_is_warped() -> None:
    views = photographs()
    with pytest.raises(InputError, match="no depth"):
        warp(Views(views.images, views.cameras), cameras(0.3), torch.ones(1, *SIZE))


def test_a_blend_by_hand() -> None:
    frames = torch.full((1, 3, 8, 8), 0.5)
    colours = torch.stack([torch.full((3, 8, 8), 0.6), torch.full((3, 8, 8), 0.1)])[None]
    weight = torch.stack([torch.full((8, 8), 0.75), torch.full((8, 8), 0.25)])[None]
    trust = [0.75 * math.exp(-0.1 / TRUST_SCALE), 0.25 * math.exp(-0.4 / TRUST_SCALE)]
    wanted = (RENDER_WEIGHT * 0.5 + trust[0] * 0.6 + trust[1] * 0.1) / (RENDER_WEIGHT + sum(trust))
    torch.testing.assert_close(blend(frames, colours, weight), torch.full((1, 3, 8, 8), wanted))
    torch.testing.assert_close(blend(frames, colours, 0 * weight), frames)
    sure = torch.tensor([0.0, 50.0])[None, :, None, None].expand_as(weight)
    torch.testing.assert_close(blend(frames, colours, weight, sure), colours[:, 1], atol=1e-5, rtol=0)


def test_a_single_pixel_that_differs_changes_the_trust_of_those_around_it() -> None:
    frames = torch.full((1, 3, 9, 9), 0.5)
    colours = frames[:, None].repeat(1, 2, 1, 1, 1)
    colours[..., 4, 4] = 1.0
    weight = torch.full((1, 2, 9, 9), 0.5)
    out = blend(frames, colours, weight)
    trust = math.exp(-0.5 / WINDOW**2 / TRUST_SCALE)
    assert float(out[0, 0, 4, 4]) == pytest.approx((RENDER_WEIGHT * 0.5 + trust) / (RENDER_WEIGHT + trust), rel=1e-5)


def test_gradients_reach_the_belief() -> None:
    g = torch.Generator().manual_seed(0)
    parts = [
        torch.rand(shape, generator=g, dtype=torch.float64)
        for shape in ((1, 3, 6, 6), (1, 2, 3, 6, 6), (1, 2, 6, 6), (1, 2, 6, 6))
    ]
    belief = parts[3].requires_grad_()
    assert torch.autograd.gradcheck(lambda b: blend(*parts[:3], b), belief)


@pytest.mark.skipif(backend("cpu") != "c++", reason="there is no C++ compiler")
def test_the_kernel_warps_as_torch_does() -> None:
    g = torch.Generator().manual_seed(0)
    noise = F.interpolate(torch.rand(1, 8, 4, 5, generator=g), SIZE, mode="bilinear")[0]
    depth = WALL * (0.8 + 0.4 * noise)
    depth[2:5, :4] = 0  # nothing was rendered there
    views = Views(torch.rand(2, 3, *SIZE, generator=g), cameras(0.0, 0.6), depth[:2].clamp_min(1))
    path, exposure = (
        cameras(0.0, 0.1, 0.3, 0.7, -0.2, 0.6),
        Exposure(torch.tensor([1.2, 0.9, 1.0]), torch.tensor([0.1, 0, 0])),
    )
    fast, slow = warp(views, path, depth[2:], exposure), warp_in_torch(views, path, depth[2:], exposure)
    same = (fast.weight > 0) == (slow.weight > 0)
    # A pixel on the very edge of the photograph or of a surface may fall to either side.
    assert float(same.float().mean()) > 0.999
    assert 0.2 < float((slow.weight > 0).float().mean()) < 0.9
    torch.testing.assert_close(fast.weight[same], slow.weight[same])
    error = (fast.colours - slow.colours).abs().amax(2)[same]
    assert float(error.max()) < 1e-3
