"""What the scene has to look like: photographs, which are true, and frames, of which some pixels were invented."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from stages.black_border import black_border
from stages.errors import InputError
from stages.geometry import crop_intrinsics
from stages.scene import Cameras, Clip, Views

# What a pixel of a frame counts against a pixel of a photograph, where the prior's Gaussians explain it. A frame that is only their render
# counts nothing: it says nothing new, and holds what is wrong in place (of what the photographs alone gain on other views, two thirds are
# lost where such frames count a tenth).
REPAIRED, RENDERED = 0.5, 0.0
INVENTED = 0.2  # share of that where nothing explains it
# A frame whose camera differs from a photograph's by no more than this, in every entry, shows the same: the photograph replaces it.
SAME_POSE = 1e-4
WHOLE = 0.01  # px from a whole number, where a clip shows the middle of the photographs


@dataclass(frozen=True)
class Targets:
    """N images with cameras, the photographs first.

    images: [N, 3, h, w], sRGB in [0, 1].  cameras: N.  weight: [N, h, w], what each pixel counts.  photographs: how many of them are
    photographs; the rest are frames.
    """

    images: Tensor
    cameras: Cameras
    weight: Tensor
    photographs: int

    def __len__(self) -> int:
        return len(self.cameras)

    @cached_property
    def counted(self) -> int:
        """How many of them count, from the first: the photographs, and the frames unless they are all without weight."""
        return len(self) if bool(self.weight[self.photographs :].any()) else self.photographs

    def to(self, device: torch.device) -> Targets:
        """Move to a device."""
        return Targets(self.images.to(device), self.cameras.to(device), self.weight.to(device), self.photographs)


def gather(views: Views, clip: Clip | None, repaired: bool = False) -> Targets:
    """Photographs and frames as one set of targets; frames taken from where a photograph was taken are left out.

    A black border that all photographs share counts nothing: it is no part of the place.
    repaired: whether a video model made the clip; otherwise it is the prior's render.
    Of a clip that shows the middle of the photographs, as CogVideoX makes it, the photographs are cut to that.
    Raises InputError when the two do not fit.
    """
    views = views if clip is None else _shown_by(views, clip.cameras)
    inner = (~black_border(views.images)).float()
    ones = inner.expand(len(views.cameras), -1, -1)
    if clip is None:
        return Targets(views.images, views.cameras, ones, len(views.cameras))
    photo, frame = (torch.cat([c.c2w.flatten(1), c.K.flatten(1) / max(c.size)], 1).double() for c in (views.cameras, clip.cameras))
    new = ((frame[:, None] - photo[None]).abs().amax(-1) > SAME_POSE).all(1)
    kept = torch.nonzero(new)[:, 0].tolist()
    coverage = torch.ones(len(kept), *clip.cameras.size) if clip.coverage is None else clip.coverage[kept]
    weight = (REPAIRED if repaired else RENDERED) * (INVENTED + (1 - INVENTED) * coverage) * inner
    frames = clip.cameras[kept].to(torch.float64)
    given = views.cameras.to(torch.float64)
    cameras = Cameras(torch.cat([given.c2w, frames.c2w]), torch.cat([given.K, frames.K]), given.size)
    return Targets(torch.cat([views.images, clip.frames[kept]]), cameras, torch.cat([ones, weight]), len(given))


def _shown_by(views: Views, clip: Cameras) -> Views:
    """The part of the photographs that a clip of them shows. Raises InputError when it is of another size and no part of them."""
    (h, w), (height, width) = views.cameras.size, clip.size
    if (h, w) == (height, width):
        return views
    left, top = (views.cameras.K[0, :2, 2] - clip.K[0, :2, 2].to(views.cameras.K)).tolist()
    rows, columns = slice(round(top), round(top) + height), slice(round(left), round(left) + width)
    whole = max(abs(left - columns.start), abs(top - rows.start)) < WHOLE
    if not (whole and 0 <= columns.start <= w - width and 0 <= rows.start <= h - height):
        why = f"{w} x {h} and {width} x {height} pixels"
        raise InputError("the photographs and the clip do not fit", why, "make the clip of these photographs")
    K = crop_intrinsics(views.cameras.K, columns.start, rows.start)
    return Views(views.images[:, :, rows, columns], Cameras(views.cameras.c2w, K, (height, width)))
