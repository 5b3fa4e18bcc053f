"""The chain of the paper, from two photographs to a refined scene, as functions of objects.

    prepared = find_views((left, right))
    scene = predict_gaussians(prepared.views, prepared.near_far, network)
    render = render_path(scene.gaussians, scene.views, along("interp", scene.views.cameras, scene.gaussians.means))
    clip = repair_clip(render, scene.views, student)
    refined = refine_gaussians(scene.gaussians, scene.views, clip, Settings())

The commands, the evaluation and the training clips all call these functions. A function returns what a scene folder
would give back: Gaussians as a PLY holds them, 8 bits per colour channel, 16 bits of depth. So the chain gives the same
pixels in memory and through files.

Images, depth and Gaussians stay on the device on which they are given; cameras are on the CPU.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from stages.exposure import Exposure
from stages.files.clip_folder import clip_as_in_folder, views_as_in_folder
from stages.files.images import as_in_png
from stages.files.ply import as_in_ply
from stages.prior.network import MVSplat
from stages.prior.predict import Prediction, predict
from stages.prior.prepare import CPU, Prepared, prepare
from stages.reconstruct import Progress, Reconstruction, Settings, State, gather, reconstruct
from stages.render import render
from stages.scene import Cameras, Clip, Gaussians, Views

Student = Callable[[Clip, Views], Clip]
"""(render along a path, the two photographs with their depth) -> the repaired clip, with its leap step."""


@dataclass(frozen=True, eq=False)
class CoarseScene:
    """The coarse Gaussians of two photographs, and the photographs with depth.

    gaussians: Gaussians in the world of the cameras, those of the first photograph first.
    views: the two photographs with cameras and depth.
    near_far: [2, 2], the range of camera z that was searched in each view, scene units.
    """

    gaussians: Gaussians
    views: Views
    near_far: Tensor


def find_views(
    photographs: tuple[Path, Path], short_side: int = 256, cameras_file: Path | None = None, device: torch.device = CPU
) -> Prepared:
    """Read two photographs, resize them and find their cameras, or take the cameras of a transforms.json.

    short_side: px.  device: where the photographs are matched, and where they are in the result.
    Raises InputError for files that cannot be used. Raises RunError when the photographs do not overlap or have no
    baseline.
    """
    return prepare(photographs, short_side, cameras_file, device)


def predict_gaussians(views: Views, near_far: Tensor, network: MVSplat) -> CoarseScene:
    """The prior: two views with cameras -> about one Gaussian per pixel.

    near_far: [2, 2], the range of camera z in each view, scene units.
    """
    return coarse_scene(predict(views, near_far, network), views)


def coarse_scene(prediction: Prediction, views: Views) -> CoarseScene:
    """The prior's prediction for two views, rounded as files round it."""
    views_with_depth = views_as_in_folder(replace(views, depth=prediction.depth))
    return CoarseScene(as_in_ply(prediction.gaussians), views_with_depth, prediction.near_far)


def render_path(
    gaussians: Gaussians,
    views: Views,
    path: Cameras,
    fps: float = 8.0,
    progress: Callable[[int, int], None] | None = None,
    exposure: Exposure | None = None,
) -> Clip:
    """Render the Gaussians of two photographs from every camera of a path, on their device.

    progress(done, total) is called as frames are finished.
    exposure: difference in exposure of the photographs, see `estimate_exposure`, which None calls.
    """
    return clip_as_in_folder(render(gaussians, path.to(gaussians.means.dtype), fps, progress, views, exposure))


def repair_clip(clip: Clip, views: Views, student: Student | None) -> Clip:
    """Let the video student repair a render. Without a student the clip stays the render."""
    if student is None:
        return clip
    repaired = student(clip, views)  # Coverage and depth stay those of the render.
    return replace(repaired, frames=as_in_png(repaired.frames))


def refine_gaussians(
    gaussians: Gaussians,
    views: Views,
    clip: Clip | None,
    settings: Settings,
    state: State | None = None,
    progress: Progress | None = None,
    save: Callable[[State], None] | None = None,
) -> Reconstruction:
    """Optimise the Gaussians on the photographs and on the clip between them (3DGS; Table 4 of the paper).

    clip: None for photographs alone, of which there may be more than two.
    state, progress, save: see `reconstruct`, which can stop and go on.
    """
    return reconstruct(gaussians, gather(views, clip), settings, state, progress, save)
