"""The images that the scene should render: photographs, which are true, and frames, which are partly invented."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from stages.errors import InputError
from stages.geometry import crop_intrinsics
from stages.plain_border import plain_border
from stages.render import nearness
from stages.scene import Cameras, Clip, Views

# Weight of a frame's pixel that Gaussians cover; a photograph's pixel has weight 1. A frame that no student repaired is
# only a render of the prior. It says nothing new and keeps the prior's errors: with a weight of 0.1, such frames undo
# two thirds of the improvement in other views that the photographs alone bring.
REPAIRED_WEIGHT, RENDER_WEIGHT = 0.5, 0.0
INVENTED_SHARE = 0.2  # factor on the weight of a frame's pixel that no Gaussian covers
# A frame is left out if its c2w, and its K divided by the longer side of the image, equal those of a photograph up to
# this difference.
SAME_POSE = 1e-4
WHOLE = 0.01  # a crop of the photographs must begin at most this far from a whole pixel, px


@dataclass(frozen=True, eq=False)
class Targets:
    """N images with cameras, the photographs first.

    images: [N, 3, h, w], sRGB in [0, 1].  cameras: N.  weight: [N, h, w], of each pixel in the loss.
    photographs: how many of the images are photographs.
    """

    images: Tensor
    cameras: Cameras
    weight: Tensor
    photographs: int

    def __len__(self) -> int:
        return len(self.cameras)

    @cached_property
    def counted(self) -> int:
        """How many of the images count: all, or only the photographs if every pixel of the frames has weight 0."""
        return len(self) if bool(self.weight[self.photographs :].any()) else self.photographs

    def to(self, device: torch.device) -> Targets:
        """Move to a device."""
        return Targets(self.images.to(device), self.cameras.to(device), self.weight.to(device), self.photographs)


def gather(views: Views, clip: Clip | None) -> Targets:
    """Photographs and frames as one set of targets, without frames that have the camera of a photograph.

    A clip without a leap step is the prior's render, which no student repaired.
    If the clip shows only the centre of the photographs, as CogVideoX clips do, the photographs are cropped to it. The
    plain border of a photograph gets weight 0. So does that of a clip, which is the border that all photographs share.
    All images get the exposure half-way between those of the photographs, if the clip says how they differ.
    Raises InputError when the sizes of photographs and clip do not fit.
    """
    views = views if clip is None else _crop_to(views, clip.cameras).to(clip.frames.device)
    border = plain_border(views.images)
    ones, inside = (~border).float(), (~border.all(0)).float()
    if clip is None:
        return Targets(views.images, views.cameras, ones, len(views.cameras))
    # The frames that no photograph replaces.
    photo, frame = (_entries(cameras) for cameras in (views.cameras, clip.cameras))
    is_new = ((frame[:, None] - photo[None]).abs().amax(-1) > SAME_POSE).all(1)
    new_frames = torch.nonzero(is_new)[:, 0].tolist()
    # Their weights, and one list of cameras.
    everywhere = clip.frames.new_ones(len(clip.frames), *clip.cameras.size)
    coverage = (everywhere if clip.coverage is None else clip.coverage)[new_frames]
    frame_weight = RENDER_WEIGHT if clip.leap is None else REPAIRED_WEIGHT
    weight = frame_weight * (INVENTED_SHARE + (1 - INVENTED_SHARE) * coverage) * inside
    photographs = views.cameras.to("cpu", torch.float64)
    cameras = photographs.joined(clip.cameras[new_frames].to("cpu", torch.float64))
    return Targets(_evenly_exposed(views, clip, new_frames), cameras, torch.cat([ones, weight]), len(photographs))


def _evenly_exposed(views: Views, clip: Clip, which: list[int]) -> Tensor:
    """The photographs, and the frames of some indices, in one exposure: a cloud of Gaussians has only one."""
    frames = clip.frames[which]
    if clip.exposure is None:
        return torch.cat([views.images, frames])
    # A frame has gone this share of the way from the exposure of the first photograph to that of the second.
    share = nearness(clip.cameras[which], views.cameras)[:, 1]
    return torch.cat([clip.exposure.half_way(views.images), clip.exposure.bring(frames, 0, 0.5 - share).clamp(0, 1)])


def _entries(cameras: Cameras) -> Tensor:
    """All entries of c2w, and of K divided by the longer side of the image, [N, 25], float64."""
    return torch.cat([cameras.c2w.flatten(1), cameras.K.flatten(1) / max(cameras.size)], 1).double().cpu()


def _crop_to(views: Views, clip: Cameras) -> Views:
    """Crop the photographs to the part that a clip shows. Raises InputError if the clip shows no such part."""
    (h, w), (height, width) = views.cameras.size, clip.size
    if (h, w) == (height, width):
        return views
    left, top = (views.cameras.K[0, :2, 2] - clip.K[0, :2, 2].to(views.cameras.K)).tolist()
    # The principal points tell where the crop begins.
    rows, columns = slice(round(top), round(top) + height), slice(round(left), round(left) + width)
    whole = max(abs(left - columns.start), abs(top - rows.start)) < WHOLE
    if not (whole and 0 <= columns.start <= w - width and 0 <= rows.start <= h - height):
        why = f"{w} x {h} and {width} x {height} pixels"
        raise InputError("the photographs and the clip do not fit", why, "make the clip of these photographs")
    K = crop_intrinsics(views.cameras.K, columns.start, rows.start)
    return Views(views.images[:, :, rows, columns], Cameras(views.cameras.c2w, K, (height, width)))
