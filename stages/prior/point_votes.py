"""Votes of matched points for the planes of the sweep.

A network compares small patches, so it can take one window of a house for the next one, or find nothing on a wall seen
at a slant from nearby. The matcher, which looks at whole photographs, is rarely wrong there, but knows only a few
hundred points. Each of them votes for the planes at its depth, in its own cell and, more weakly, in the cells around
it. The monocular branch is fitted to the confident depths of the sweep, so the votes also change the depth of
places farther away.
"""

import torch
from torch import Tensor

from stages.geometry import project

VOTE = 8.0  # the largest vote, as a logit
AROUND = 0.4  # share of a point's vote that each of the eight cells around the point's own cell gets
WIDTH = 0.8  # smallest standard deviation of a vote, in planes
POSITION_ERROR = 0.25  # how far a matched point may be off, in cells; a cell is 4 px wide
STEP = 0.01  # relative change of inverse depth for which the movement of a point is computed


@torch.no_grad()
def point_votes(points: Tensor, K: Tensor, c2w: Tensor, candidates: Tensor, size: tuple[int, int]) -> Tensor:
    """The votes of points for the planes of two views, [2, D, h, w], 0 where there is none.

    points: [P, 3], world.  K: [2, 3, 3], cells.  c2w: [2, 4, 4].  candidates: [2, D], inverse depths, ascending.
    size: (h, w), the number of cells.
    A vote is wide where the depth is uncertain. This is so for points near the direction in which the camera moved:
    when their depth changes, they hardly move in the other view.
    """
    views = [_votes_in_view(points, K, c2w, candidates[k], size, k) for k in (0, 1)]
    return torch.stack(views)


def _votes_in_view(points: Tensor, K: Tensor, c2w: Tensor, planes: Tensor, size: tuple[int, int], view: int) -> Tensor:
    (h, w), other, count = size, 1 - view, len(planes)
    pixels, z = project(points, K[view], c2w[view])
    inside = (z > 0) & (pixels >= 0).all(1) & (pixels[:, 0] < w) & (pixels[:, 1] < h)
    points, pixels, inverse = points[inside], pixels[inside], 1 / z[inside]
    # The change of inverse depth that moves the point by one cell in the other view. It tells how uncertain the depth
    # of the point is, and so how wide its vote is, in planes.
    per_cell = STEP * inverse / movement(points, c2w[view], K[other], c2w[other])
    at, further = (_position(planes, x) for x in (inverse, inverse + POSITION_ERROR * per_cell))
    width = (further - at).clamp_min(WIDTH)
    index = torch.arange(count, device=planes.device)[:, None]
    vote = VOTE * WIDTH / width * torch.exp(-0.5 * ((index - at) / width) ** 2)  # [D, P]
    # The largest vote counts where several points vote for one plane of a cell.
    votes = planes.new_zeros(count, h * w)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            x, y = (pixels[:, 0] + right).long().clamp(0, w - 1), (pixels[:, 1] + down).long().clamp(0, h - 1)
            share = 1.0 if down == right == 0 else AROUND
            votes.scatter_reduce_(1, (y * w + x).expand(count, -1), share * vote, "amax")
    return votes.view(count, h, w)


def movement(points: Tensor, c2w: Tensor, K_other: Tensor, c2w_other: Tensor) -> Tensor:
    """How far points [P, 3] move in another view when their inverse depth in this one grows by the share STEP, [P].

    c2w, c2w_other: [4, 4].  K_other: [3, 3], px or cells, as is the result, which is above 0.
    """
    centre = c2w[:3, 3]
    before, _ = project(points, K_other, c2w_other)
    after, _ = project(centre + (points - centre) / (1 + STEP), K_other, c2w_other)
    return (after - before).norm(dim=1).clamp_min(1e-6)


def _position(planes: Tensor, inverse: Tensor) -> Tensor:
    """Where inverse depths [P] lie among those of the planes [D], in planes: 0 at the first, D - 1 at the last."""
    above = torch.searchsorted(planes.contiguous(), inverse.contiguous()).clamp(1, len(planes) - 1)
    low, high = planes[above - 1], planes[above]
    return above - 1 + ((inverse - low) / (high - low)).clamp(0, 1)
