"""Points that several photographs saw: matches, triangulated with the cameras, as the sparse points of a COLMAP model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stages.geometry import fundamental_of
from stages.prior.epipolar import sampson_error, triangulate
from stages.prior.matching import SHORT_SIDE, load_matcher
from stages.scene import Views

INLIER = 2.0  # epipolar distance of a match that fits the cameras, px at the matcher's short side
FARTHEST = 300.0  # baselines: what lies farther has no depth
PAIRS = 8  # of photographs that are matched, at most


@dataclass(frozen=True)
class Tracks:
    """points: [P, 3], scene units.  colors: [P, 3] in [0, 1].  observations: [O, 4], point, photograph, x, y (px); float64."""

    points: Tensor
    colors: Tensor
    observations: Tensor


def find_tracks(photographs: Views) -> Tracks:
    """Match photographs with their neighbours in order and triangulate what fits the cameras; each point is seen by two.

    Pairs without baseline, or without matches, give no points. Raises WeightsError without the matcher.
    """
    count = len(photographs.cameras)
    starts = torch.linspace(0, count - 2, min(PAIRS, count - 1)).round().long().unique().tolist() if count > 1 else []
    matcher = load_matcher() if starts else None
    c2w, K = photographs.cameras.c2w.double().cpu(), photographs.cameras.K.double().cpu()
    bound = INLIER * min(photographs.cameras.size) / SHORT_SIDE
    points, colors, observations, total = [], [], [], 0
    for first in starts:
        assert matcher is not None
        pair = [first, first + 1]
        baseline = float((c2w[first + 1] - c2w[first])[:3, 3].norm())
        if baseline == 0:
            continue
        matches = matcher(*photographs.images[pair].cpu())
        a, b = matches.points_a.double(), matches.points_b.double()
        place, z = triangulate(a, b, c2w[pair], K[pair])
        fits = (sampson_error(a, b, fundamental_of(c2w[pair], K[pair])).abs() < bound) & (z > 0).all(0) & (z < FARTHEST * baseline).all(0)
        number = total + torch.arange(int(fits.sum()), dtype=torch.float64)
        observations += [
            torch.cat([torch.stack([number, torch.full_like(number, view)], 1), seen[fits]], 1)
            for view, seen in zip(pair, (a, b), strict=True)
        ]
        points.append(place[fits])
        column, row = a[fits].long().unbind(1)
        colors.append(photographs.images[first].cpu()[:, row, column].T)
        total += len(number)
    none = torch.zeros(0, 3, dtype=torch.float64)
    seen = torch.cat(observations) if observations else torch.zeros(0, 4, dtype=torch.float64)
    return Tracks(torch.cat([none, *points]), torch.cat([none, *colors]).float(), seen)
