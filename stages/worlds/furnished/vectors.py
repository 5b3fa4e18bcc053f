"""Sums over the last axis of many short vectors; numpy's own reductions are several times slower there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]


def dot(a: Floats, b: Floats) -> Floats:
    """Scalar products of [R, 3] and [R, 3] or [3], [R]."""
    return a[:, 0] * b[..., 0] + a[:, 1] * b[..., 1] + a[:, 2] * b[..., 2]


def length(a: Floats) -> Floats:
    """Lengths of [R, 3], [R]."""
    return np.sqrt(dot(a, a))


def unit(a: Floats) -> Floats:
    """[R, 3], each of length one."""
    return a / np.maximum(length(a), 1e-9)[:, None]


def cross(a: Floats, b: Floats) -> Floats:
    """Vector products of [R, 3] and [R, 3], [R, 3]."""
    ax, ay, az = a[:, 0], a[:, 1], a[:, 2]
    bx, by, bz = b[:, 0], b[:, 1], b[:, 2]
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], 1)
