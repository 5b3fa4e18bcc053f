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
    alike = [torch.exp(-((step.abs().amax(0) / ALIKE) ** 2)) for step in _differences(blurred)]
    slopes = [torch.where(step.abs() < STEEP, step, 0.0) for step in _differences(given)]
    target = data * given + _spread([weight * slope for weight, slope in zip(alike, slopes, strict=True)])
    return torch.where(unsure, _solve(data, alike, target, given).exp(), depth)


def _solve(data: Tensor, alike: list[Tensor], target: Tensor, start: Tensor) -> Tensor:
    """Solve data * x + D^T (alike * D x) = target for x [h, w], where D is `_differences`.

    alike: weights of neighbours along rows [h, w - 1] and along columns [h - 1, w]. Preconditioned by the diagonal.
    """

    def applied(x: Tensor) -> Tensor:
        return data * x + _spread([weight * step for weight, step in zip(alike, _differences(x), strict=True)])

    diagonal = data + _spread(alike, before=1)
    tiny = torch.finfo(start.dtype).tiny
    x, residual = start, target - applied(start)
    scaled = residual / diagonal
    direction, size = scaled, (residual * scaled).sum()
    for _ in range(STEPS):
        change = applied(direction)
        length = size / (direction * change).sum().clamp_min(tiny)
        x, residual = x + length * direction, residual - length * change
        scaled = residual / diagonal
        before, size = size, (residual * scaled).sum()
        direction = scaled + size / before.clamp_min(tiny) * direction
    return x


def _differences(x: Tensor) -> list[Tensor]:
    """D: differences of neighbours in x [..., h, w], along rows [..., h, w - 1] and along columns [..., h - 1, w]."""
    return [x.diff(dim=-1), x.diff(dim=-2)]


def _spread(between: list[Tensor], before: int = -1) -> Tensor:
    """D^T of values between neighbours, [h, w]: each is added to the later pixel, and subtracted from the earlier one.

    between: along rows [h, w - 1] and along columns [h - 1, w].  before: 1 adds them to the earlier one too.
    """
    rows, columns = between
    total = rows.new_zeros(rows.shape[0], columns.shape[1])
    total[:, 1:] += rows
    total[:, :-1].add_(rows, alpha=before)
    total[1:] += columns
    total[:-1].add_(columns, alpha=before)
    return total
