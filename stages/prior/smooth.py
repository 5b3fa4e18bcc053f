"""Lets the depth of a photograph be smooth where the photograph is.

Where one photograph alone shows a bare surface, the network's depth is patchy, and the surface comes apart in the
frames between. So changes of depth are removed there if the photograph has no edge at them, unless they are large.
First the slopes of the depth are made smooth. Then the depth is made to follow these slopes, so that walls and floors
stay plane. These are slopes of inverse depth, in which a plane has the same slope everywhere. Depth that the other
photograph confirms stays. Both steps are the weighted least squares filter of Farbman et al. 2008, solved by conjugate
gradients; that slopes come first is the idea of Bredies et al. 2010 ("Total Generalized Variation").
"""

import torch
import torch.nn.functional as F
from torch import Tensor

ALIKE = 0.03  # the weight between two pixels falls to 1/e where a channel of the blurred image differs by this much
# The weight also falls to 1/e where log depth changes by this much over three pixels: larger jumps part two surfaces.
JUMP = 0.15
STEEP = 0.012  # slopes of log depth above this, per pixel, are not taken for those of a surface
SLOPE = 0.001  # weight that draws the slope of a pixel to that of the network's depth
# Added to this weight, so that a slope is found even where all slopes of the network's depth are too steep.
UNKNOWN = 1e-6
# Weights that draw the depth of a pixel to the network's depth: UNSURE where the other photograph does not confirm the
# network's depth, and SURE where it does.
UNSURE, SURE = 0.0003, 30.0
SLOPE_STEPS, STEPS = 100, 300  # numbers of steps of the conjugate gradients, for slopes and for depth
MOST = 3.0  # largest factor by which a depth changes


@torch.no_grad()
def smooth_depth(depth: Tensor, image: Tensor, unsure: Tensor) -> Tensor:
    """Depth [h, w] that is smooth where the image [3, h, w] is.

    depth: above 0.  unsure: [h, w], boolean, pixels whose depth is not confirmed. The depths of all others stay.
    """
    inverse, alike = 1 / depth, _alike(depth, image)
    slopes = _smooth_slopes(depth, inverse, alike)
    # Relative errors count, so errors of inverse depth are multiplied by depth.
    squared = depth.square()
    data = torch.where(unsure, UNSURE, SURE).to(depth) * squared
    weights = [weight * mean for weight, mean in zip(alike, _means(squared), strict=True)]
    kept = [weight * slope for weight, slope in zip(weights, slopes, strict=True)]
    solved = _solve(data, weights, data * inverse + _spread(kept), inverse, STEPS)
    factor = (solved * depth).clamp(1 / MOST, MOST)
    return torch.where(unsure, depth / factor, depth)


def _alike(depth: Tensor, image: Tensor) -> list[Tensor]:
    """The weights between neighbours along rows [h, w - 1] and along columns [h - 1, w], from 0 to 1."""
    blurred = F.avg_pool2d(F.pad(image[None], (1, 1, 1, 1), mode="replicate"), 3, 1)[0]  # fine texture is no edge
    log = F.pad(depth.log()[None], (1, 1, 1, 1), mode="replicate")[0]
    jumps = (log[1:-1, 3:] - log[1:-1, :-3], log[3:, 1:-1] - log[:-3, 1:-1])
    edges = (step.abs().amax(0) / ALIKE for step in _differences(blurred))
    return [torch.exp(-(edge**2) - (jump / JUMP) ** 2) for edge, jump in zip(edges, jumps, strict=True)]


def _smooth_slopes(depth: Tensor, inverse: Tensor, alike: list[Tensor]) -> list[Tensor]:
    """Slopes of inverse depth between neighbours, smooth where neighbours are alike; shapes as in `alike`."""
    gentle = [(step.abs() < STEEP).to(depth) for step in _differences(depth.log())]
    steps = [step * keep for step, keep in zip(_differences(inverse), gentle, strict=True)]
    # The slope of a pixel along each axis is the mean of those to both neighbours, as far as they are gentle.
    known = _at_pixels(gentle)  # 0, 0.5 or 1
    given, data = _at_pixels(steps) / known.clamp_min(0.5), SLOPE * known + UNKNOWN
    along_rows, along_columns = _solve(data, alike, data * given, given, SLOPE_STEPS)
    return [_means(along_rows)[0], _means(along_columns)[1]]


def _solve(data: Tensor, alike: list[Tensor], target: Tensor, start: Tensor, steps: int) -> Tensor:
    """Solve data * x + D^T (alike * D x) = target for x [..., h, w], where D is `_differences`.

    alike: weights of neighbours along rows [h, w - 1] and along columns [h - 1, w]. Preconditioned by the diagonal.
    """

    def applied(x: Tensor) -> Tensor:
        return data * x + _spread([weight * step for weight, step in zip(alike, _differences(x), strict=True)])

    diagonal = data + _spread(alike, on_earlier=1)
    tiny = torch.finfo(start.dtype).tiny
    x, residual = start, target - applied(start)
    scaled = residual / diagonal
    direction, size = scaled, (residual * scaled).sum()
    for _ in range(steps):
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


def _means(x: Tensor) -> list[Tensor]:
    """Means of neighbours in x, in the shapes of `_differences`."""
    return [(x[..., 1:] + x[..., :-1]) / 2, (x[..., 1:, :] + x[..., :-1, :]) / 2]


def _at_pixels(between: list[Tensor]) -> Tensor:
    """The means of the values before and after each pixel, along rows and along columns apart, [2, h, w].

    A value beyond the edge counts as 0.
    """
    rows, columns = between
    return torch.stack([_means(F.pad(rows, (1, 1)))[0], _means(F.pad(columns, (0, 0, 1, 1)))[1]])


def _spread(between: list[Tensor], on_earlier: int = -1) -> Tensor:
    """D^T of values between neighbours, [..., h, w]: added to the later pixel, and subtracted from the earlier one.

    between: along rows [..., h, w - 1] and along columns [..., h - 1, w].
    on_earlier: the factor for the earlier pixel. With 1, the values are added to it too.
    """
    rows, columns = between
    total = rows.new_zeros(*rows.shape[:-1], columns.shape[-1])
    total[..., 1:] += rows
    total[..., :-1].add_(rows, alpha=on_earlier)
    total[..., 1:, :] += columns
    total[..., :-1, :].add_(columns, alpha=on_earlier)
    return total
