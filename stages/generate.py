"""(5) The prior's render -> the clip. The video student repairs the render in one step when one is installed."""

from __future__ import annotations

from collections.abc import Callable

from stages.scene import Clip, Views

Student = Callable[[Clip, Views], Clip]  # (render along the path, the two photographs) -> repaired clip


def repair(clip: Clip, views: Views, student: Student | None) -> Clip:
    """Let the student repair a render.

    clip: the prior's render with its coverage.  views: the two photographs.  student: None returns the render unchanged.
    """
    return clip if student is None else student(clip, views)
