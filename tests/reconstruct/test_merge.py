"""Thinning keeps the picture; filling covers holes; targets weigh photographs, explained pixels and invented ones."""

import pytest
import torch

from stages.errors import InputError
from stages.geometry import crop_intrinsics
from stages.reconstruct.fill_gaps import fill
from stages.reconstruct.merge import thin
from stages.reconstruct.picture_loss import picture_loss
from stages.reconstruct.quality import outlier_frames
from stages.reconstruct.targets import INVENTED_SHARE, REPAIRED_WEIGHT, Targets, gather
from stages.scene import Cameras, Clip, Gaussians, Views, colours_to_sh
from stages.splat import draw

SIZE = (32, 40)


def cameras(*shifts: float) -> Cameras:
    c2w = torch.eye(4).repeat(len(shifts), 1, 1)
    c2w[:, 0, 3] = torch.tensor(shifts)
    return Cameras(c2w, torch.tensor([[40.0, 0, 20], [0, 40, 16], [0, 0, 1]]).expand(len(shifts), 3, 3), SIZE)


def wall(seed: int = 0, depth: float = 2.0) -> Gaussians:
    """One Gaussian a pixel of the middle camera, smooth colours."""
    g = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(32) + 0.5, torch.arange(40) + 0.5, indexing="ij")
    means = torch.stack([(x - 20) / 40 * depth, (y - 16) / 40 * depth, torch.full_like(x, depth)], -1).reshape(-1, 3)
    colour = torch.nn.functional.interpolate(torch.rand(1, 3, 5, 6, generator=g), SIZE, mode="bilinear")[0].flatten(1).T
    quats = torch.nn.functional.normalize(torch.randn(len(means), 4, generator=g), dim=-1)
    scales = 0.6 * depth / 40 * torch.ones_like(means)
    return Gaussians(means, scales, quats, torch.full((len(means),), 0.8), colours_to_sh(colour))


def psnr(a: Gaussians, b: Gaussians, camera: Cameras) -> float:
    error = (draw(a, camera).image - draw(b, camera).image).square().mean()
    return float(-10 * torch.log10(error.clamp_min(1e-12)))


def test_single_gaussians_are_kept_to_the_bit() -> None:
    scene = wall()
    thinned, _ = thin(scene, cameras(0.0), 10_000)
    assert len(thinned) == len(scene)
    order = [torch.argsort(g.means[:, 0] * 1000 + g.means[:, 1]) for g in (scene, thinned)]
    for name in ("means", "scales", "quats", "opacities", "sh"):
        assert torch.equal(getattr(scene, name)[order[0]], getattr(thinned, name)[order[1]])


def test_a_surface_seen_twice_is_merged_and_looks_the_same() -> None:
    scene = wall().joined(wall())
    assert len(thin(scene, cameras(0.0), len(scene))[0]) == len(scene)  # within the budget nothing is merged
    thinned, of = thin(scene, cameras(0.0), len(scene) - 1)
    assert len(thinned) == len(wall())
    assert torch.allclose(scene.means[of], thinned.means, atol=1e-5)
    assert psnr(thinned, scene, cameras(0.0, 0.1)) > 30


def test_a_small_budget_is_met() -> None:
    thinned, _ = thin(wall(), cameras(0.0), 400)
    assert 200 < len(thinned) <= 400
    assert psnr(thinned, wall(), cameras(0.0)) > 15


def test_a_merged_gaussian_has_the_mean_and_covariance_of_its_parts() -> None:
    means = torch.tensor([[0.002, 0.001, 2.0], [0.004, 0.001, 2.0]])
    quats = torch.tensor([[1.0, 0, 0, 0], [1.0, 0, 0, 0]])
    scales = torch.tensor([[0.01, 0.02, 0.03], [0.01, 0.02, 0.03]])
    pair = Gaussians(means, scales, quats, torch.tensor([0.2, 0.2]), torch.zeros(2, 1, 3))
    merged, _ = thin(pair, cameras(0.0), 1)
    assert len(merged) == 1
    assert torch.allclose(merged.means[0], torch.tensor([0.003, 0.001, 2.0]), atol=1e-6)
    assert torch.allclose(
        merged.scales[0].sort().values, torch.tensor([(0.01**2 + 0.001**2) ** 0.5, 0.02, 0.03]), atol=1e-6
    )
    assert 0.38 < float(merged.opacities[0]) <= 0.4


def test_the_transparent_and_the_ones_behind_are_dropped() -> None:
    scene = wall()
    scene.opacities[:100] = 1e-3
    scene.means[100:150, 2] *= -1
    assert len(thin(scene, cameras(0.0), 10_000)[0]) == len(scene) - 150
    with pytest.raises(InputError, match="nothing to reconstruct"):
        thin(scene[:150], cameras(0.0), 10_000)


def test_holes_of_the_frames_are_filled_with_their_colours() -> None:
    scene, camera = wall(), cameras(0.0)
    image = draw(scene, camera).image
    rows, columns = (torch.arange(len(scene)) // 40), torch.arange(len(scene)) % 40
    holed = scene[~((rows > 8) & (rows < 20) & (columns > 10) & (columns < 24))]
    targets = Targets(image, camera, torch.ones(1, *SIZE), 0)
    filled = fill(holed, targets, 10_000)
    assert len(holed) < len(filled) <= len(scene)
    assert psnr(filled, scene, camera) > psnr(holed, scene, camera) + 5
    assert abs(float(filled.means[-1, 2]) - 2.0) < 0.01
    assert len(fill(holed, targets, len(holed) + 20)) <= len(holed) + 20


def test_frames_where_a_photograph_was_taken_are_left_out_and_pixels_weigh_as_explained() -> None:
    views = Views(torch.zeros(2, 3, *SIZE), cameras(0.0, 0.4))
    coverage = torch.zeros(3, *SIZE)
    coverage[1, :16] = 1
    targets = gather(views, Clip(torch.ones(3, 3, *SIZE), cameras(0.0, 0.2, 0.4), coverage, leap=0))
    assert (len(targets), targets.photographs) == (3, 2)
    assert torch.equal(targets.cameras.c2w[:, 0, 3].float(), torch.tensor([0.0, 0.4, 0.2]))
    assert targets.weight.unique().tolist() == pytest.approx([INVENTED_SHARE * REPAIRED_WEIGHT, REPAIRED_WEIGHT, 1])
    assert bool((targets.weight[:2] == 1).all())
    error = picture_loss(targets.images * 0 + 0.5, targets.images, targets.weight)
    assert error[2] < 0.5 * error[0]


def test_clips_of_another_size_are_refused() -> None:
    views = Views(torch.zeros(2, 3, 16, 16), Cameras(cameras(0.0, 1.0).c2w, cameras(0.0, 1.0).K, (16, 16)))
    with pytest.raises(InputError, match="do not fit"):
        gather(views, Clip(torch.ones(1, 3, *SIZE), cameras(0.5)))


def test_photographs_are_cut_to_a_clip_of_their_middle() -> None:
    h, w = SIZE
    views = Views(torch.rand(2, 3, h, w), cameras(0.0, 0.4))
    middle = Cameras(cameras(0.2).c2w, crop_intrinsics(cameras(0.2).K, 4, 2), (h - 4, w - 8))
    targets = gather(views, Clip(torch.ones(1, 3, *middle.size), middle, leap=0))
    assert torch.equal(targets.images[:2], views.images[:, :, 2 : h - 2, 4 : w - 4])
    assert torch.equal(targets.cameras.K[0].float(), middle.K[0].float())
    assert targets.cameras.size == middle.size


def test_frames_of_large_loss_are_doubted_photographs_never() -> None:
    losses = torch.tensor([9.0, 1.0, 1.0, 1.2, float("nan"), 2.0])
    assert outlier_frames(losses, 2, 1.5) == [5]
    assert outlier_frames(losses[:2], 2, 1.5) == []
