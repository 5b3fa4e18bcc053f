"""The depth of both photographs is guided by them, and their Gaussians follow it."""

import torch
from torch import Generator, Tensor

from stages.geometry import depth_of, unproject
from stages.prior.edges import sharp_depth
from stages.prior.guided import guided_by_photographs
from stages.scene import Cameras, Gaussians, Views
from tests.prior.test_edges import ALL, SIZE, blurred_depth, photograph


def views(shift: float) -> Views:
    """Two equal photographs, the second from a camera this far to the right."""
    c2w, K = torch.eye(4).repeat(2, 1, 1), torch.tensor([[40.0, 0, 24], [0, 40, 16], [0, 0, 1]])
    c2w[1, 0, 3] = shift
    return Views(photograph().repeat(2, 1, 1, 1), Cameras(c2w, K.repeat(2, 1, 1), SIZE))


def scene(depth: Tensor, cameras: Cameras) -> Gaussians:
    """One Gaussian for each pixel of two depth maps, but for some that are missing."""
    means = unproject(depth, cameras.K, cameras.c2w).reshape(-1, 3)
    g = len(means)
    turn = torch.tensor([1.0, 0, 0, 0]).repeat(g, 1)
    which = torch.arange(2, dtype=torch.uint8).repeat_interleave(g // 2)
    kept = torch.rand(g, generator=Generator().manual_seed(0)) < 0.8
    return Gaussians(means, torch.full((g, 3), 0.02), turn, torch.ones(g), torch.zeros(g, 1, 3), which)[kept]


def test_depth_that_the_other_photograph_confirms_stays() -> None:
    pair, depth = views(shift=0), blurred_depth().repeat(2, 1, 1)  # both cameras are at one place and agree everywhere
    assert not torch.equal(sharp_depth(depth[0], photograph(), ALL), depth[0])
    given = scene(depth, pair.cameras)
    gaussians, guided = guided_by_photographs(given, depth, pair, ALL.expand(2, *SIZE))
    assert torch.equal(guided, depth)
    assert torch.equal(gaussians.means, given.means)


def test_gaussians_move_along_their_rays_to_the_new_depth() -> None:
    pair, depth = views(shift=0.4), blurred_depth().repeat(2, 1, 1)
    given = scene(depth, pair.cameras)
    moved, guided = guided_by_photographs(given, depth, pair, ALL.expand(2, *SIZE))
    assert ((guided - depth).abs() > 0.1).any(2).any(1).all()
    for view in (0, 1):
        c2w, (before, after) = pair.cameras.c2w[view], (g.of_photograph(view) for g in (given, moved))
        factor = depth_of(after.means, c2w) / depth_of(before.means, c2w)
        assert torch.allclose(after.means, c2w[:3, 3] + (before.means - c2w[:3, 3]) * factor[:, None], atol=1e-5)
        assert torch.allclose(after.scales[:, 0], 0.02 * factor, rtol=1e-4)
        assert torch.allclose(scene(guided, pair.cameras).of_photograph(view).means, after.means, atol=1e-4)


def test_the_depth_of_a_border_stays_out_of_a_scene_of_its_colour() -> None:
    """A dark thing that touches a black letterbox does not move to the depth of the letterbox."""
    pair, depth = views(shift=0.4), torch.full((2, *SIZE), 1.0)
    bar, usable = slice(0, 6), torch.ones(2, *SIZE, dtype=torch.bool)
    pair.images[:], depth[:, bar], usable[:, bar] = 0.0, 1.1, False
    leaking = guided_by_photographs(scene(depth, pair.cameras), depth, pair, torch.ones_like(usable))[1]
    assert leaking[usable].max() > 1.02, "without the mask it moves"
    guided = guided_by_photographs(scene(depth, pair.cameras), depth, pair, usable)[1]
    torch.testing.assert_close(guided[usable], depth[usable], rtol=1e-3, atol=0)
