"""Products and lengths of many 3-vectors. numpy's own reductions over short axes are several times slower."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]


def dot(a: Floats, b: Floats) -> Floats:
    """Dot products [R] of a [R, 3] and b, [R, 3] or [3]."""
    return a[:, 0] * b[..., 0] + a[:, 1] * b[..., 1] + a[:, 2] * b[..., 2]


def length(a: Floats) -> Floats:
    """Lengths [R] of vectors [R, 3]."""
    return np.sqrt(dot(a, a))


def unit(a: Floats) -> Floats:
    """Vectors [R, 3], scaled to length 1."""
    return a / np.maximum(length(a), 1e-9)[:, None]


def cross(a: Floats, b: Floats) -> Floats:
    """Cross products [R, 3] of vectors [R, 3]."""
    ax, ay, az = a[:, 0], a[:, 1], a[:, 2]
    bx, by, bz = b[:, 0], b[:, 1], b[:, 2]
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], 1)
