"""What any method must beat: methods that know nothing of the scene.

A method is a function (context, cameras, times) -> frames: context, the two photographs with their cameras; cameras, the T target
cameras; times [T], where each target lies between the photographs (Task.times). Frames are [T, 3, h, w] in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from stages.scene import Cameras, Views

Method = Callable[[Views, Cameras, Tensor], Tensor]


def crossfade(context: Views, cameras: Cameras, times: Tensor) -> Tensor:
    """One photograph faded into the other."""
    weight = times.to(context.images)[:, None, None, None]
    return (1 - weight) * context.images[0] + weight * context.images[1]


def nearest(context: Views, cameras: Cameras, times: Tensor) -> Tensor:
    """The nearer photograph in time; the second one half way."""
    return context.images[(times >= 0.5).long()]
