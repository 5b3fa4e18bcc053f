"""A first scene of photographs with cameras: the Gaussians that the prior predicts from some pairs of them."""

import torch
from torch import Tensor

from stages.errors import InputError, RunError
from stages.files.images import fit
from stages.geometry import resize_intrinsics
from stages.prior.network import MVSplat
from stages.prior.pose import match_views
from stages.prior.predict import predict
from stages.scene import Cameras, Gaussians, Views

PAIRS = 4  # largest number of pairs
SPAN = 8  # the two photographs of a pair are N / SPAN apart in the order of all N photographs


def resize(images: Tensor, cameras: Cameras, short_side: int) -> Views:
    """Resize photographs and their cameras, and crop them so that sides are multiples of 16.

    images: [N, 3, h, w].  cameras: N, for images of the same aspect ratio, of any size.  short_side: px.
    Raises InputError when the numbers of images and cameras or their aspect ratios differ.
    """
    if len(images) != len(cameras):
        why = f"{len(images)} frames, {len(cameras)} cameras"
        raise InputError("the frames and their cameras do not fit", why, "give one camera per frame")
    size = (images.shape[-2], images.shape[-1])
    if abs(size[0] * cameras.size[1] - size[1] * cameras.size[0]) > 0.02 * size[1] * cameras.size[0]:
        why = f"frames of {size[1]} x {size[0]}, cameras of {cameras.size[1]} x {cameras.size[0]} pixels"
        raise InputError("the frames and their cameras do not fit", why, "give cameras of the frames' aspect ratio")
    K = resize_intrinsics(cameras.K, cameras.size, size)
    pairs = [fit(image, k, short_side) for image, k in zip(images, K, strict=True)]
    images, K = torch.stack([image for image, _ in pairs]), torch.stack([k for _, k in pairs])
    return Views(images, Cameras(cameras.c2w, K, (images.shape[-2], images.shape[-1])))


def predict_pairs(views: Views, network: MVSplat) -> Gaussians:
    """The prior's Gaussians of up to PAIRS pairs of nearby photographs, spread evenly over all photographs.

    Pairs taken from one position are skipped. Raises InputError for a single photograph, RunError when no pair is left.
    """
    count = len(views.cameras)
    if count < 2:
        hint = "give at least two photographs of one scene"
        raise InputError("nothing to reconstruct from", f"{count} photograph", hint)
    # The first photographs of the pairs.
    gap = max(1, count // SPAN)
    starts = torch.linspace(0, count - 1 - gap, min(PAIRS, count - gap)).round().long().unique().tolist()
    scene: Gaussians | None = None
    for first in starts:
        pair = Views(views.images[[first, first + gap]], views.cameras[[first, first + gap]])
        try:
            pair, near_far = match_views(pair)
        except RunError:
            continue
        gaussians = predict(pair, near_far, network).gaussians
        scene = gaussians if scene is None else scene.joined(gaussians)
    if scene is None:
        why = "the cameras of each pair are at the same place, which shows no depth"
        raise RunError("cannot make a first scene", why, "give photographs taken from different places")
    return scene
