"""The sparse points of a COLMAP model: matches between photographs, triangulated with their cameras."""

from dataclasses import dataclass

import torch
from torch import Tensor

from stages.geometry import fundamental_of
from stages.prior.epipolar import sampson_error, triangulate
from stages.prior.exact_matches import exact_matches
from stages.prior.matching import SHORT_SIDE, load_matcher
from stages.scene import Views

# Largest epipolar distance of a match that fits the cameras, in pixels of an image whose short side is SHORT_SIDE.
INLIER = 2.0
FARTHEST = 300.0  # largest depth of a point, in baselines of its pair; matches beyond hardly show depth
PAIRS = 8  # largest number of pairs that are matched


@dataclass(frozen=True, eq=False)
class Tracks:
    """Points and where photographs saw them.

    points: [P, 3], scene units, float64.  colors: [P, 3] in [0, 1].
    observations: [O, 4], float64, rows of point index, photograph index, x, y (px).
    """

    points: Tensor
    colors: Tensor
    observations: Tensor


def find_tracks(photographs: Views) -> Tracks:
    """Match consecutive photographs, on their device, and triangulate the matches that fit the cameras, on the CPU.

    Pairs without a baseline give no points. Raises WeightsError when the matcher's weights are missing.
    """
    count = len(photographs.cameras)
    starts = torch.linspace(0, count - 2, min(PAIRS, count - 1)).round().long().unique().tolist() if count > 1 else []
    matcher = load_matcher(photographs.images.device) if starts else None
    c2w, K = photographs.cameras.c2w.double().cpu(), photographs.cameras.K.double().cpu()
    bound = INLIER * min(photographs.cameras.size) / SHORT_SIDE
    points, colors, observations, total = [], [], [], 0
    for first in starts:
        assert matcher is not None
        pair = [first, first + 1]
        baseline = float((c2w[first + 1] - c2w[first])[:3, 3].norm())
        if baseline == 0:
            continue
        # Points of the pair: matches near their epipolar lines, in front of both cameras, and not too far away.
        images = photographs.images[pair]
        matches = exact_matches(list(images), matcher(*images))
        a, b = matches.points_a.double(), matches.points_b.double()
        positions, z = triangulate(a, b, c2w[pair], K[pair])
        fits = sampson_error(a, b, fundamental_of(c2w[pair], K[pair])).abs() < bound
        fits &= (z > 0).all(0) & (z < FARTHEST * baseline).all(0)
        # Two observations per point, and its colour in the first photograph.
        number = total + torch.arange(int(fits.sum()), dtype=torch.float64)
        observations += [
            torch.cat([torch.stack([number, torch.full_like(number, view)], 1), pixels[fits]], 1)
            for view, pixels in zip(pair, (a, b), strict=True)
        ]
        points.append(positions[fits])
        column, row = a[fits].long().unbind(1)
        colors.append(photographs.images[first][:, row, column].T.cpu())
        total += len(number)
    empty = torch.zeros(0, 3, dtype=torch.float64)  # for photographs without any match
    rows = torch.cat([torch.zeros(0, 4, dtype=torch.float64), *observations])
    return Tracks(torch.cat([empty, *points]), torch.cat([empty, *colors]).float(), rows)
