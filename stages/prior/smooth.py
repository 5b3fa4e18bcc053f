"""Lets the depth of a photograph be smooth where the photograph is.

Where one photograph alone shows a bare surface, the network's depth is patchy, and the surface comes apart in the
frames between. So depth keeps its gentle slopes there, and loses changes at which the photograph has no edge. Depth
that the other photograph confirms stays. This is the weighted least squares filter of Farbman et al. 2008 on the
logarithm of depth, with slopes that are kept. Conjugate gradients solve it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

ALIKE = 0.03  # the weight between two pixels falls to 1/e where a channel of the blurred image differs by this much
STEEP = 0.012  # slopes of log depth above this, per pixel, are kept only where the photograph has an edge
UNSURE, SURE = 0.001, 30.0  # weights of the network's depth, of a pixel that is not confirmed, and of one that is
STEPS = 300  # number of steps of the conjugate gradients; more of them change depths by about 0.1 % at most


@torch.no_grad()
def smooth_depth(depth: Tensor, image: Tensor, unsure: Tensor) -> Tensor:
    """Depth [h, w] that is smooth where the image [3, h, w] is.

    depth: above 0.  unsure: [h, w], boolean, pixels whose depth is not confirmed. The depths of all others stay.
    """
    given, data = depth.log(), torch.where(unsure, UNSURE, SURE).to(depth)
    blurred = F.avg_pool2d(F.pad(image[None], (1, 1, 1, 1), mode="replicate"), 3, 1)[0]  # fine texture is no edge
    alike = tuple(torch.exp(-((blurred.diff(dim=dim).abs().amax(0) / ALIKE) ** 2)) for dim in (-1, -2))
    slopes = tuple(torch.where(given.diff(dim=dim).abs() < STEEP, given.diff(dim=dim), 0.0) for dim in (-1, -2))
    target = data * given + _spread(tuple(w * s for w, s in zip(alike, slopes, strict=True)))
    return torch.where(unsure, _solve(data, alike, target, given).exp(), depth)


def _solve(data: Tensor, alike: tuple[Tensor, ...], target: Tensor, start: Tensor) -> Tensor:
    """Solve data * x + D^T (alike * D x) = target for x [h, w], where D takes the differences of neighbours.

    alike: weights of neighbours along rows [h, w - 1] and along columns [h - 1, w]. Preconditioned by the diagonal.
    """

    def applied(x: Tensor) -> Tensor:
        return data * x + _spread(tuple(w * x.diff(dim=dim) for w, dim in zip(alike, (-1, -2), strict=True)))

    diagonal = data.clone()
    diagonal[:, 1:] += alike[0]
    diagonal[:, :-1] += alike[0]
    diagonal[1:] += alike[1]
    diagonal[:-1] += alike[1]
    x, residual = start, target - applied(start)
    scaled = residual / diagonal
    direction, size = scaled, (residual * scaled).sum()
    for _ in range(STEPS):
        image = applied(direction)
        length = size / (direction * image).sum().clamp_min(torch.finfo(x.dtype).tiny)
        x, residual = x + length * direction, residual - length * image
        scaled = residual / diagonal
        before, size = size, (residual * scaled).sum()
        direction = scaled + size / before.clamp_min(torch.finfo(x.dtype).tiny) * direction
    return x


def _spread(between: tuple[Tensor, ...]) -> Tensor:
    """D^T of values between neighbours, [h, w]: each is added to the later pixel, and subtracted from the earlier one.

    between: along rows [h, w - 1] and along columns [h - 1, w].
    """
    rows, columns = between
    total = rows.new_zeros(rows.shape[0], columns.shape[1])
    total[:, 1:] += rows
    total[:, :-1] -= rows
    total[1:] += columns
    total[:-1] -= columns
    return total
