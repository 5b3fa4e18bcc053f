"""Positions of matches to a fraction of a pixel: against known warps and a search, and where nothing tells them."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from stages.geometry import sampling_grid
from stages.prior.exact_matches import NEIGHBOURS, aligned, exact_matches, local_affine, patch
from stages.prior.matching import SHORT_SIDE, Matches

H, W = SHORT_SIDE, 576
AFFINE = torch.tensor([[1.06, 0.04], [-0.05, 0.97]])  # of the second photograph, about its centre
SHIFT = torch.tensor([7.3, -4.6])


def clouds(seed: int = 3) -> Tensor:
    """Smooth random texture of several sizes, [1, H, W]."""
    g = Generator().manual_seed(seed)
    layers = [torch.randn(1, 1, H // cell, W // cell, generator=g) for cell in (4, 8, 16)]
    return 0.5 + 0.1 * sum(F.interpolate(layer, (H, W), mode="bicubic") for layer in layers)[0]  # type: ignore[index]


def warped(points: Tensor) -> Tensor:
    """Where the second photograph shows points [M, 2] of the first, px."""
    middle = torch.tensor([W / 2, H / 2])
    return (points - middle) @ AFFINE.T + middle + SHIFT


def second_of(first: Tensor) -> Tensor:
    """The second photograph: the first one, warped, darker, and of less contrast."""
    y, x = torch.meshgrid(torch.arange(H) + 0.5, torch.arange(W) + 0.5, indexing="ij")
    middle = torch.tensor([W / 2, H / 2])
    from_first = (torch.stack([x, y], -1) - SHIFT - middle) @ torch.linalg.inv(AFFINE).T + middle
    image = F.grid_sample(first[None], sampling_grid(from_first, (H, W))[None], "bicubic", "border", False)[0]
    return 0.7 * image - 0.05


def points(count: int, seed: int = 5) -> tuple[Tensor, Tensor]:
    """Points [M, 2] of the first photograph, away from its edges, and their true matches."""
    a = 60 + torch.rand(count, 2, generator=Generator().manual_seed(seed)) * torch.tensor([W - 120.0, H - 120.0])
    return a, warped(a)


def matches(a: Tensor, b: Tensor) -> Matches:
    return Matches(a, b, torch.ones(len(a)), torch.zeros(len(a), dtype=torch.bool))


def test_points_that_are_off_by_a_pixel_and_a_half_are_found_to_a_tenth() -> None:
    first = clouds()
    images = [first.expand(3, H, W), second_of(first).expand(3, H, W)]
    a, truth = points(200)
    off = 3 * torch.rand(200, 2, generator=Generator().manual_seed(6)) - 1.5
    found = exact_matches(images, matches(a, truth + off))
    assert found.exact.float().mean() > 0.9
    error = (found.points_b - truth).norm(dim=1)[found.exact]
    assert error.median() < 0.05
    assert error.quantile(0.95) < 0.2
    assert torch.equal(found.points_a, a)
    assert torch.equal(found.points_b[~found.exact], (truth + off)[~found.exact])


def test_photographs_of_other_sizes_give_the_same_places() -> None:
    """Positions are in px of the photographs, which are compared in the working size."""
    first = clouds()
    images = [F.interpolate(image[None], scale_factor=scale, mode="bicubic")[0].expand(3, -1, -1)
              for image, scale in ((first, 0.5), (second_of(first), 2.0))]  # fmt: skip
    a, truth = points(100)
    found = exact_matches(images, matches(0.5 * a, 2 * (truth + 0.8)))
    assert found.exact.float().mean() > 0.5
    assert (found.points_b / 2 - truth).norm(dim=1)[found.exact].median() < 0.15


def test_aligned_finds_what_a_search_finds() -> None:
    """The slow reference tries every displacement on a fine grid, with the affine change known."""
    first = clouds()
    second = second_of(first)
    a, truth = points(6)
    offsets, weights = patch(a)

    def looks(image: Tensor, at: Tensor) -> Tensor:
        found = F.grid_sample(image[None], sampling_grid(at, (H, W))[None, None], "bicubic", "border", False)[0, 0, 0]
        found = found - (weights * found).sum()
        return found / (weights * found.square()).sum().sqrt()

    best = []
    for k in range(len(a)):
        template = looks(first, a[k] + offsets)
        steps = [torch.tensor([0.05 * x, 0.05 * y]) for x in range(-20, 21) for y in range(-20, 21)]
        errors = [(weights * (looks(second, truth[k] + step + offsets @ AFFINE.T) - template).square()).sum()
                  for step in steps]  # fmt: skip
        best.append(truth[k] + steps[int(torch.stack(errors).argmin())])
    found, exact = aligned(first, second, a, truth + torch.tensor([1.1, -0.7]), AFFINE.expand(6, 2, 2))
    assert bool(exact.all())
    assert (found - torch.stack(best)).abs().max() < 0.06


def test_the_affine_change_comes_from_the_neighbours_and_not_from_the_wrong_ones() -> None:
    a, b = points(300)
    b[::10] += 40
    off = (local_affine(a, b) - AFFINE).abs().amax((1, 2))
    assert off[torch.arange(300) % 10 != 0].median() < 0.02


def test_blank_walls_and_edges_are_not_exact() -> None:
    """On a wall nothing tells the place, and along an edge a patch would slide."""
    edge = (torch.arange(W) > W / 2).float().expand(1, H, W)
    a = torch.stack([torch.full((40,), W / 2), torch.linspace(100, H - 100, 40)], 1)
    for image in (torch.full((1, H, W), 0.4), edge):
        found = exact_matches([image.expand(3, H, W)] * 2, matches(a, a + 1))
        assert not bool(found.exact.any())
        torch.testing.assert_close(found.points_b, a + 1)


def test_near_the_edges_of_the_photographs_matches_are_right_or_not_exact() -> None:
    """Outside a photograph its edge is repeated, in which both patches would agree."""
    first = clouds()
    images = [first.expand(3, H, W), first.expand(3, H, W)]
    g = Generator().manual_seed(8)
    along = 40 + torch.rand(160, 1, generator=g) * (H - 80)
    a = torch.cat([12 * torch.rand(160, 1, generator=g), along], 1)
    for points_a in (a, torch.tensor([W, 0.0]) + a * torch.tensor([-1.0, 1.0])):
        off = 2 * torch.rand(160, 2, generator=g) - 1
        found = exact_matches(images, matches(points_a, points_a + off))
        assert 0 < int(found.exact.sum()) < 80
        assert (found.points_b - points_a).norm(dim=1)[found.exact].max() < 0.2


def test_wrong_matches_stay_where_they_are() -> None:
    first = clouds()
    a, truth = points(120)
    wrong = truth.flip(0)
    far = (wrong - truth).norm(dim=1) > 40
    found = exact_matches([first.expand(3, H, W), second_of(first).expand(3, H, W)], matches(a, wrong))
    assert found.exact[far].float().mean() < 0.05


def test_few_matches_are_left_alone() -> None:
    a, truth = points(NEIGHBOURS - 1)
    image = clouds().expand(3, H, W)
    assert exact_matches([image, image], matches(a, truth)).points_b is truth
