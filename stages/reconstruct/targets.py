"""What the scene has to look like: photographs, which are true, and frames, of which some pixels were invented."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from stages.border import black_border
from stages.errors import InputError
from stages.scene import Cameras, Clip, Views

# What a pixel of a frame counts against a pixel of a photograph, where the prior's Gaussians explain it. A frame that is only their render
# counts nothing: it says nothing new, and holds what is wrong in place (of what the photographs alone gain on other views, two thirds are
# lost where such frames count a tenth).
REPAIRED, RENDERED = 0.5, 0.0
INVENTED = 0.2  # share of that where nothing explains it
# A frame whose camera differs from a photograph's by no more than this, in every entry, shows the same: the photograph replaces it.
SAME_POSE = 1e-4


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
    Raises InputError when the two have different sizes.
    """
    inner = (~black_border(views.images)).float()
    ones = inner.expand(len(views.cameras), -1, -1)
    if clip is None:
        return Targets(views.images, views.cameras, ones, len(views.cameras))
    if clip.cameras.size != views.cameras.size:
        photo_size, clip_size = (f"{w} x {h}" for h, w in (views.cameras.size, clip.cameras.size))
        why = f"{photo_size} and {clip_size} pixels"
        raise InputError("the photographs and the clip do not fit", why, "make the clip of these photographs")
    photo, frame = (torch.cat([c.c2w.flatten(1), c.K.flatten(1) / max(c.size)], 1).double() for c in (views.cameras, clip.cameras))
    new = ((frame[:, None] - photo[None]).abs().amax(-1) > SAME_POSE).all(1)
    kept = torch.nonzero(new)[:, 0].tolist()
    coverage = torch.ones(len(kept), *clip.cameras.size) if clip.coverage is None else clip.coverage[kept]
    weight = (REPAIRED if repaired else RENDERED) * (INVENTED + (1 - INVENTED) * coverage) * inner
    frames = clip.cameras[kept].to(torch.float64)
    given = views.cameras.to(torch.float64)
    cameras = Cameras(torch.cat([given.c2w, frames.c2w]), torch.cat([given.K, frames.K]), given.size)
    return Targets(torch.cat([views.images, clip.frames[kept]]), cameras, torch.cat([ones, weight]), len(given))
