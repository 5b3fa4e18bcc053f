"""Real spherical harmonics in the convention of 3D Gaussian Splatting."""

import torch
from torch import Tensor


def basis(degree: int, directions: Tensor) -> Tensor:
    """Basis functions [..., (degree + 1)^2] of unit vectors [..., 3]: degree by degree, each with orders from -l to l.

    Source: Sloan 2013, "Efficient Spherical Harmonic Evaluation". cos_m + i sin_m is (x + i y)^m.
    """
    x, y, z = directions.unbind(-1)
    out = [torch.full_like(x, 0.2820947917738781)]
    if degree >= 1:
        out += [-0.48860251190292 * y, 0.48860251190292 * z, -0.48860251190292 * x]
    if degree >= 2:
        z2, cos2, sin2 = z * z, x * x - y * y, 2 * x * y
        p20, p21 = 0.9461746957575601 * z2 - 0.3153915652525201, -1.092548430592079 * z
        out += [0.5462742152960395 * sin2, p21 * y, p20, p21 * x, 0.5462742152960395 * cos2]
    if degree >= 3:
        cos3, sin3 = x * cos2 - y * sin2, x * sin2 + y * cos2
        p30, p31 = z * (1.865881662950577 * z2 - 1.119528997770346), -2.285228997322329 * z2 + 0.4570457994644658
        p32 = 1.445305721320277 * z
        out += [-0.5900435899266435 * sin3, p32 * sin2, p31 * y, p30, p31 * x, p32 * cos2, -0.5900435899266435 * cos3]
    if degree >= 4:
        cos4, sin4 = x * cos3 - y * sin3, x * sin3 + y * cos3
        p40 = 1.984313483298443 * z * p30 - 1.006230589874905 * p20
        p41 = z * (-4.683325804901025 * z2 + 2.007139630671868)
        p42, p43 = 3.31161143515146 * z2 - 0.47308734787878, -1.770130769779931 * z
        out += [0.6258357354491763 * sin4, p43 * sin3, p42 * sin2, p41 * y, p40]
        out += [p41 * x, p42 * cos2, p43 * cos3, 0.6258357354491763 * cos4]
    return torch.stack(out, -1)
