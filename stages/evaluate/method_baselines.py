"""What any method must beat: methods that know nothing of the scene.

A method is a function (context, cameras, times) -> clip: context, the two photographs with their cameras; cameras, the T target
cameras; times [T], where each target lies between the photographs (Task.times). The clip has coverage and depth if the method
knows what it saw.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from stages.scene import Cameras, Clip, Views

Method = Callable[[Views, Cameras, Tensor], Clip]


def crossfade(context: Views, cameras: Cameras, times: Tensor) -> Clip:
    """One photograph faded into the other."""
    weight = times.to(context.images)[:, None, None, None]
    return Clip((1 - weight) * context.images[0] + weight * context.images[1], cameras)


def nearest(context: Views, cameras: Cameras, times: Tensor) -> Clip:
    """The nearer photograph in time; the second one half way."""
    return Clip(context.images[(times >= 0.5).long()], cameras)
