"""The chain of the paper, from two photographs to a refined scene, as functions of objects.

    prepared = find_views((left, right))
    scene = predict_gaussians(prepared.views, prepared.near_far, network)
    path = along("interp", scene.views.cameras, scene.gaussians.means)
    render = render_path(scene.gaussians, scene.views, resized_cameras(path, scene.views.size))
    clip = repair_clip(render, scene.views, student)
    cloud = one_cloud(scene.gaussians, scene.views, estimate_exposure(scene.views))
    refined = refine_gaussians(cloud, scene.views, clip, Settings.of_a_cloud(STEPS_OF_A_CLIP))

The commands, the evaluation and the training clips all call these functions. A function returns what a scene folder
would give back: Gaussians as a PLY holds them, 8 bits per colour channel, 16 bits of depth. So the chain gives the same
pixels in memory and through files. Networks work in a small size, and `along` gives cameras of that size.
`resized_cameras` brings them to the size of the result, which clips have (stages/sizes.py).

Images, depth and Gaussians stay on the device on which they are given; cameras are on the CPU.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from stages.files.clip_folder import views_as_in_folder
from stages.files.depth_maps import depth_unit
from stages.files.ply import as_in_ply
from stages.files.stored_clip import StoredClip
from stages.geometry import depth_of
from stages.prior.network import MVSplat
from stages.prior.predict import Prediction, predict
from stages.prior.prepare import CPU, Prepared, prepare
from stages.reconstruct import Progress, Reconstruction, Settings, State, gather, reconstruct
from stages.render import render_parts
from stages.scene import Cameras, Exposure, Gaussians, Views
from stages.sizes import cloud_size, resized_cameras, resized_images
from stages.video.full_size import Repair, Student, repair_stored, small_clip
from stages.video.video_clip import VideoClip, VideoFrames


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
    photographs: tuple[Path, Path],
    short_side: int | None = 480,
    cameras_file: Path | None = None,
    device: torch.device = CPU,
) -> Prepared:
    """Read two photographs, resize them, and estimate their cameras or read these from `cameras_file`.

    short_side: short side of the result, px; None keeps the size of the first photograph.
    device: where the photographs are in the result. Without `cameras_file` they are also matched there.
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


def render_path(gaussians: Gaussians, views: Views, path: Cameras) -> StoredClip:
    """Render the Gaussians of two photographs from every camera of a path, on their device.

    path: cameras with images of any size. Frames of the size of the full photographs show all of their detail.
    """
    path = path.to(gaussians.means.dtype)
    return StoredClip.joined(render_path_in_parts(gaussians, views, path), path)


def render_path_in_parts(
    gaussians: Gaussians,
    views: Views,
    path: Cameras,
    fps: float = 8.0,
    progress: Callable[[int, int], None] | None = None,
    exposure: Exposure | None = None,
) -> Iterator[StoredClip]:
    """`render_path`, a few frames at a time, because all frames together may not fit into memory.

    progress(done, total) is called as frames are finished.
    exposure: difference in exposure of the photographs; None stands for `estimate_exposure`.
    """
    path = path.to(gaussians.means.dtype)
    unit = depth_unit(_farthest(gaussians.means, path))
    parts = render_parts(gaussians, path, fps, progress, views, exposure)
    return (StoredClip.of(part, unit) for part in parts)


def repair_clip(clip: StoredClip, views: Views, student: Student | None) -> StoredClip:
    """Let the video student repair a render. Without a student the clip stays the render."""
    return clip if student is None else repair_stored(clip, views, student)


def repair_video(clip: VideoClip, views: Views, student: Student | None) -> VideoFrames:
    """`repair_clip` for a render that becomes a video file. Each frame is made when it is encoded."""
    if student is None or clip.small is None:
        return VideoFrames(clip.clip, None)
    return VideoFrames(clip.clip, Repair.of(clip.small, views, student))


def refine_gaussians(
    gaussians: Gaussians,
    views: Views,
    clip: StoredClip | None,
    settings: Settings,
    state: State | None = None,
    progress: Progress | None = None,
    save: Callable[[State], None] | None = None,
) -> Reconstruction:
    """Optimise the Gaussians on the photographs and on the clip between them (3DGS; Table 4 of the paper).

    gaussians: those to start from, such as `one_cloud` of stages/render.
    clip: None for photographs alone, of which there may be more than two.
    state, progress, save: see `reconstruct`, which can stop and go on.
    Photographs and frames are compared in the size of the result, `views.size`. If `views.full` is given, `cloud_size`
    limits that size. If a student repaired only the centre of each frame, nothing is resized, and the photographs are
    cropped to that centre.
    """
    photographs = views.full or views
    if clip is not None and clip.cameras.size != views.size:  # a student repaired only the centre of each frame
        targets = gather(photographs, clip.clip())
    else:
        size = views.size if views.full is None else cloud_size(views.size)
        photographs = Views(resized_images(photographs.images, size), resized_cameras(photographs.cameras, size))
        targets = gather(photographs, None if clip is None else small_clip(clip, size))
    return reconstruct(gaussians, targets, settings, state, progress, save)


def _farthest(means: Tensor, cameras: Cameras) -> Tensor:
    """The largest depth of Gaussians [G, 3] in each camera, or 0 if none is in front of it, [N]."""
    start = means.new_zeros(1)
    return torch.stack([torch.cat([start, depth_of(means, c2w)]).amax() for c2w in cameras.c2w.to(means.device)])
