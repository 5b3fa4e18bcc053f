"""A pair is refined from its one cloud, in the size of the result and in one exposure."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from stages.files.stored_clip import StoredClip
from stages.metrics.image import psnr
from stages.pipeline import refine_gaussians, render_path
from stages.reconstruct import Settings, gather
from stages.render import one_cloud
from stages.scene import Cameras, Clip, Exposure, Gaussians, Views
from stages.sizes import resized_cameras
from stages.splat import draw
from stages.trajectory import along
from tests.render.test_photographs import SHIFT, SIZE, cameras, photograph, scene

FULL = (2 * SIZE[0], 2 * SIZE[1])


@pytest.fixture(scope="module")
def pair() -> tuple[Gaussians, Views, StoredClip]:
    """Two photographs of a wall, known at twice the size of the networks, and a repaired clip between them."""
    gaussians, views = scene(photograph(0.0), photograph(SHIFT))
    images = F.interpolate(views.images, scale_factor=2.0, mode="bicubic").clamp(0, 1)
    views = replace(views, full=Views(images, resized_cameras(views.cameras, FULL)))
    path = resized_cameras(along("interp", views.cameras, gaussians.means, 5), FULL)
    return gaussians, views, replace(render_path(gaussians, views, path), leap=1)


def test_targets_have_the_size_of_the_result_up_to_a_bound(
    pair: tuple[Gaussians, Views, StoredClip], monkeypatch: pytest.MonkeyPatch
) -> None:
    gaussians, views, clip = pair
    assert refine_gaussians(gaussians, views, clip, Settings(1)).targets.cameras.size == FULL
    monkeypatch.setattr("stages.sizes.MOST_PIXELS", SIZE[0] * SIZE[1])
    for repaired in (clip, None):
        targets = refine_gaussians(gaussians, views, repaired, Settings(1)).targets
        assert targets.cameras.size == SIZE
        assert targets.images.shape[-2:] == SIZE


def test_photographs_and_frames_get_one_exposure() -> None:
    exposure = Exposure(torch.tensor([1.2, 1.1, 0.9]), torch.tensor([-0.02, 0.0, 0.01]))
    ends = cameras((0.0, 0.0), (1.0, 0.0))
    path = cameras(*((x, 0.0) for x in (0.0, 0.25, 0.5, 0.75, 1.0)))
    grey = torch.full((5, 3, *SIZE), 0.5)
    frames = exposure.bring(grey, 0, torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
    views = Views(frames[[0, -1]], ends)
    assert views.images.std(0).max() > 0.03
    targets = gather(views, Clip(frames, Cameras(path.c2w, path.K, SIZE), leap=1, exposure=exposure))
    assert len(targets) == 5
    assert targets.images.std(0).max() < 0.003


def test_refining_the_cloud_keeps_what_it_shows(pair: tuple[Gaussians, Views, StoredClip]) -> None:
    gaussians, views, clip = pair
    assert views.full is not None
    cloud = one_cloud(gaussians, views, Exposure.same())
    refined = refine_gaussians(cloud, views, clip, Settings.of_a_cloud(12)).gaussians
    assert torch.equal(refined.means[: len(cloud)], cloud.means)
    inside = (slice(None), slice(None), slice(8, -8), slice(8, -8))
    before, after = (
        psnr(draw(g, views.full.cameras).image[inside], views.full.images[inside]) for g in (cloud, refined)
    )
    assert after.min() > before.min() + 0.5
    larger = draw(refined, resized_cameras(views.full.cameras, (2 * FULL[0], 2 * FULL[1])))
    assert (larger.alpha[:, 16:-16, 16:-16] < 0.9).float().mean() < 0.01
