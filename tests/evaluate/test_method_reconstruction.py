"""The methods of Table 4: two photographs suffice to optimise a scene, and a prior is a better start than nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stages import pipeline
from stages.evaluate.cases import Task, load_task, read_cases
from stages.evaluate.method_plane_sweep import to_gaussians
from stages.evaluate.method_prior import open_prior
from stages.evaluate.method_reconstruction import photographs_only, random_points, refined_prior
from stages.metrics.image import psnr
from stages.prior.predict import Prediction
from stages.reconstruct import Settings
from stages.render import render
from stages.scene import Clip, Gaussians, Views

NEAR_FAR = torch.tensor([[2.0, 5.0], [2.0, 5.0]])
QUICK = Settings(steps=60, views=2, gaussians=5000)


@pytest.fixture
def task(wall: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Task:
    """Two photographs of the wall, 12 pixels apart, and three targets between. The prior is a plane sweep in grey."""

    def predict(views: Views, near_far: Tensor, network: None) -> Prediction:
        g = to_gaussians(Views(views.images, views.cameras.to(torch.float32)), near_far)
        gaussians = Gaussians(g.means, g.scales, g.quats, g.opacities, g.sh + 0.2)
        return Prediction(gaussians, torch.ones(2, *views.cameras.size), near_far)

    monkeypatch.setattr(pipeline, "predict", predict)
    return load_task(read_cases(wall())[1])


def range_of(context: Views) -> Tensor:
    return NEAR_FAR


def between(clip: Clip, task: Task) -> float:
    return float(psnr(clip.frames, task.truth).mean())


def test_random_points_lie_in_their_photographs_and_depth_range(task: Task) -> None:
    points = random_points(task.context, NEAR_FAR, seed=3, count=500)
    assert len(points) == 1000
    c2w, K = (x[0].float() for x in (task.context.cameras.c2w, task.context.cameras.K))
    local = (points.means[:500] - c2w[:3, 3]) @ c2w[:3, :3]
    pixels = (local @ K.T)[:, :2] / local[:, 2:]
    assert 2 <= float(local[:, 2].min()) < 2.2
    assert 4.5 < float(local[:, 2].max()) <= 5
    assert bool(((pixels > 0) & (pixels < torch.tensor([64.0, 48.0]))).all())


def test_a_scene_from_the_photographs_alone_shows_them(task: Task) -> None:
    clip = photographs_only(Settings(steps=150, gaussians=5000), range_of)(
        task.context, task.context.cameras, torch.tensor([0.0, 1.0])
    )
    start = render(random_points(task.context, NEAR_FAR, 0, 768), task.context.cameras.to(torch.float32))
    assert psnr(clip.frames, task.context.images).min() > psnr(start.frames, task.context.images).max() + 2


def test_a_refined_prior_beats_the_prior_and_the_photographs_alone(task: Task) -> None:
    predicted = open_prior(None, lambda context: (context, range_of(context)))  # type: ignore[arg-type]
    gaussians = predicted(task.context).gaussians
    before = between(render(gaussians, task.cameras.to(torch.float32)), task)
    refined = between(refined_prior(predicted, QUICK, frames=9)(task.context, task.cameras, task.times), task)
    alone = between(photographs_only(QUICK, range_of)(task.context, task.cameras, task.times), task)
    assert refined > before + 0.5
    assert refined > alone + 1
