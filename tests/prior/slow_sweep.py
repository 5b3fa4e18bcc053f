"""The plane sweep as loops over planes and pixels, one number at a time: slow, and easy to check by eye.

Scalars are torch tensors, so that autograd gives the gradients as well.
"""

import torch
from torch import Tensor


def land(
    pixel: Tensor, depth: Tensor, K: Tensor, c2w: Tensor, source_K: Tensor, source_c2w: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Pixel (2 numbers) of one view at a depth (camera z) -> x, y in the source view, px, and z there."""
    ray = torch.linalg.inv(K) @ torch.stack([pixel[0], pixel[1], torch.ones_like(pixel[0])])
    world = c2w[:3, :3] @ (ray * depth) + c2w[:3, 3]
    camera = source_c2w[:3, :3].mT @ (world - source_c2w[:3, 3])
    x, y, z = source_K @ camera
    z = z.clamp_min(1e-3)
    return x / z, y / z, camera[2]


def bilinear(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Sample [C, h, w] at cell (x, y), zero outside."""
    _, h, w = image.shape
    left, top = int(x.floor()), int(y.floor())
    result = torch.zeros(image.shape[0], dtype=image.dtype)
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < h and 0 <= column < w:
                result = result + (1 - (x - column).abs()) * (1 - (y - row).abs()) * image[:, row, column]
    return result


def correlation(
    reference: Tensor,
    source: Tensor,
    K: Tensor,
    c2w: Tensor,
    source_K: Tensor,
    source_c2w: Tensor,
    depths: list[float],
    convention: str,
) -> Tensor:
    """Correlation of one view's features with another's, [C, h, w] twice -> [D, h, w].

    convention "z": pixel centres at + 0.5, both intrinsics, nothing behind the source or outside it.
    convention "ray" (upstream's): whole coordinates, the reference's intrinsics for both; a depth behind the source
    counts as 1e-3.
    """
    c, h, w = reference.shape
    half = 0.5 if convention == "z" else 0.0
    planes = []
    for depth in depths:
        for row in range(h):
            for column in range(w):
                pixel = reference.new_tensor([column + half, row + half])
                other_K = source_K if convention == "z" else K
                x, y, z = land(pixel, reference.new_tensor(depth), K, c2w, other_K, source_c2w)
                sample = bilinear(source, x - half, y - half)
                if convention == "z" and not (z > 1e-3 and 0 < x < w and 0 < y < h):
                    sample = sample * 0
                planes.append((reference[:, row, column] * sample).sum() / c**0.5)
    return torch.stack(planes).view(len(depths), h, w)


def clamped(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Sample [C, h, w] at cell (x, y), the border repeated outside."""
    _, h, w = image.shape
    return bilinear(image, x.clamp(0, w - 1), y.clamp(0, h - 1))


def zncc(a: Tensor, b: Tensor, floor: float) -> Tensor:
    """Zero-mean normalised cross-correlation of two lists of numbers, `floor` added to their variances."""
    a, b = a - a.mean(), b - b.mean()
    return (a * b).mean() / ((a.square().mean() + floor) * (b.square().mean() + floor)).sqrt()
