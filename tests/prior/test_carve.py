"""Carving: a point that would hide the other photograph's surface in another colour goes, all others stay."""

from dataclasses import replace

import torch
from torch import Tensor

from stages.geometry import unproject
from stages.prior.carve import visible_as_claimed
from stages.scene import C0, Cameras, Gaussians, Views

SIZE = (24, 40)
K = torch.tensor([[40.0, 0, 20], [0, 40, 12], [0, 0, 1]]).expand(2, 3, 3)
WALL = 2.0


def scene(shift: float = 0.0) -> tuple[Gaussians, Tensor, Views]:
    """A grey wall at z = 2 that both cameras see, the second photograph brighter by `shift`."""
    c2w = torch.eye(4).repeat(2, 1, 1)
    c2w[1, 0, 3] = 0.2
    images = torch.full((2, 3, *SIZE), 0.4)
    images[1] += shift
    depth = torch.full((2, *SIZE), WALL)
    points = torch.cat([unproject(depth[v], K[v], c2w[v]).reshape(-1, 3) for v in (0, 1)])
    g = len(points)
    colours = images.permute(0, 2, 3, 1).reshape(g, 1, 3)
    gaussians = Gaussians(
        points,
        torch.full((g, 3), 0.02),
        torch.tensor([1.0, 0, 0, 0]).expand(g, 4),
        torch.full((g,), 0.9),
        (colours - 0.5) / C0,
        torch.arange(2, dtype=torch.uint8).repeat_interleave(g // 2),
    )  # fmt: skip
    return gaussians, depth, Views(images, Cameras(c2w, K, SIZE))


def moved(gaussians: Gaussians, index: int, z: float, colour: float) -> Gaussians:
    """One of the first view's points put at another depth along its ray, in a colour of its own."""
    means, sh = gaussians.means.clone(), gaussians.sh.clone()
    means[index] *= z / WALL
    sh[index] = (colour - 0.5) / C0
    return replace(gaussians, means=means, sh=sh)


MIDDLE = 12 * SIZE[1] + 20


def test_a_wall_that_both_see_stays_whatever_their_exposure() -> None:
    for shift in (0.0, 0.2):
        assert bool(visible_as_claimed(*scene(shift)).all())


def test_a_speck_before_the_other_wall_goes() -> None:
    gaussians, depth, views = scene()
    kept = visible_as_claimed(moved(gaussians, MIDDLE, 1.5, 0.9), depth, views)
    assert not kept[MIDDLE]
    assert int((~kept).sum()) == 1


def test_what_is_behind_or_of_the_same_colour_or_out_of_sight_stays() -> None:
    gaussians, depth, views = scene()
    assert bool(visible_as_claimed(moved(gaussians, MIDDLE, 3.0, 0.9), depth, views).all()), "hidden behind the wall"
    assert bool(visible_as_claimed(moved(gaussians, MIDDLE, 1.5, 0.42), depth, views).all()), "no contradiction"
    assert bool(visible_as_claimed(moved(gaussians, 12 * SIZE[1], 0.3, 0.9), depth, views).all()), (
        "beside the other photograph"
    )
