"""What several methods of a case need is computed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from stages.scene import Views

R = TypeVar("R")


class Last(Generic[R]):
    """A function of the two photographs that keeps its last result. The photographs are told apart by identity."""

    def __init__(self, function: Callable[[Views], R]) -> None:
        self._function = function
        self._kept: tuple[Views, R] | None = None

    def __call__(self, context: Views) -> R:
        if self._kept is None or self._kept[0] is not context:
            self._kept = context, self._function(context)
        return self._kept[1]
