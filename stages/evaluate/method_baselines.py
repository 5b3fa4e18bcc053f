"""Baselines that know nothing of the scene. Every method must beat them.

A method is a function (context, cameras, times) -> clip.  context: the two photographs with their cameras.
cameras: the T target cameras.  times: [T], the position of each target between the photographs (Task.times). The clip
has coverage and depth if the method knows them.
"""

from collections.abc import Callable

from torch import Tensor

from stages.scene import Cameras, Clip, Views

Method = Callable[[Views, Cameras, Tensor], Clip]


def crossfade(context: Views, cameras: Cameras, times: Tensor) -> Clip:
    """A crossfade from one photograph to the other."""
    weight = times.to(context.images)[:, None, None, None]
    return Clip((1 - weight) * context.images[0] + weight * context.images[1], cameras)


def nearest(context: Views, cameras: Cameras, times: Tensor) -> Clip:
    """The photograph that is nearer in time. Half way this is the second one."""
    return Clip(context.images[(times >= 0.5).long()], cameras)
