"""A first scene for photographs that come with cameras but without Gaussians: the prior, on pairs of neighbours along the way."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.errors import InputError, RunError
from stages.files.images import fit
from stages.geometry import resize_intrinsics
from stages.prior.network import MVSplat
from stages.prior.pose import near_far_from_cameras
from stages.prior.predict import predict
from stages.scene import Cameras, Gaussians, Views

PAIRS = 4
SPAN = 8  # the partners of a pair are this share of the way apart


def resize(images: Tensor, cameras: Cameras, short_side: int) -> Views:
    """Photographs and cameras at another size, cut to multiples of 16.

    images: [N, 3, h, w], of the aspect of the cameras; they may have more or fewer pixels.  short_side: px.
    Raises InputError when there are not as many images as cameras, or the aspects differ.
    """
    if len(images) != len(cameras):
        raise InputError(
            "the frames and their cameras do not fit", f"{len(images)} frames, {len(cameras)} cameras", "give a camera a frame"
        )
    size = (images.shape[-2], images.shape[-1])
    if abs(size[0] * cameras.size[1] - size[1] * cameras.size[0]) > 0.02 * size[1] * cameras.size[0]:
        why = f"frames of {size[1]} x {size[0]}, cameras of {cameras.size[1]} x {cameras.size[0]} pixels"
        raise InputError("the frames and their cameras do not fit", why, "give cameras of the frames' aspect")
    K = resize_intrinsics(cameras.K, cameras.size, size)
    fitted = [fit(image, k, short_side) for image, k in zip(images, K, strict=True)]
    pictures, intrinsics = torch.stack([image for image, _ in fitted]), torch.stack([k for _, k in fitted if k is not None])
    return Views(pictures, Cameras(cameras.c2w, intrinsics, (pictures.shape[-2], pictures.shape[-1])))


def predict_pairs(views: Views, network: MVSplat) -> Gaussians:
    """The prior's Gaussians of up to PAIRS pairs of neighbours, spread over all photographs.

    Pairs taken from one place are left out. Raises InputError for a single photograph, RunError when no pair is left.
    """
    count = len(views.cameras)
    if count < 2:
        raise InputError("nothing to reconstruct from", f"{count} photograph", "give at least two photographs of one place")
    gap = max(1, count // SPAN)
    starts = torch.linspace(0, count - 1 - gap, min(PAIRS, count - gap)).round().long().unique().tolist()
    scene: Gaussians | None = None
    for first in starts:
        pair = Views(views.images[[first, first + gap]], views.cameras[[first, first + gap]])
        try:
            near_far = near_far_from_cameras(list(pair.images), pair.cameras)
        except RunError:
            continue
        gaussians = predict(pair, near_far, network).gaussians
        scene = gaussians if scene is None else scene.joined(gaussians)
    if scene is None:
        why = "the cameras of each pair are at the same place, which shows no depth"
        raise RunError("cannot make a first scene", why, "give photographs taken from different places")
    return scene
