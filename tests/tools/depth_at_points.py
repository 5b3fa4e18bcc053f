"""Errors of predicted depth at points of known depth, sorted by who sees the points and by what lies around them."""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.geometry import project, sampling_grid
from stages.scene import Cameras
from tests.tools.true_points import TruePoints

BOTH, ONE, UNSETTLED = 0, 1, 2
NEIGHBOURHOOD = (
    0.045  # of the short side: how far around a projection other points tell what stands there (12 px of 256)
)
LEAST_NEIGHBOURS = 2
NEARER = 0.9  # of a point's depth: what stands nearer than this hides it
JUMP = 1.1  # largest over smallest depth in 3 x 3 pixels from which there is an edge of the depth map
BESIDE_JUMP, BESIDE_BORDER = 3, 5  # px
ROWS = (
    "all",
    "seen by both",
    "seen by one only",
    "unsettled",
    "seen by both, off edges",
    "seen by one only, off edges",
    "near an edge",
)
LEAST_POINTS = 30  # fewer say nothing about a scene

Figures = Mapping[str, float]
"""points, and of their relative errors |depth / truth - 1|: median, mean, and the shares within 5 and 25 %."""


def sight(points: TruePoints, shown: Tensor, frame: int, camera: Cameras) -> Tensor:
    """Whether a second photograph sees points that a first one shows: BOTH, ONE or UNSETTLED, [N].

    shown: [N], indices of points.  frame, camera: of the second photograph, one camera, float64.
    BOTH: the second photograph is in the point's track, or none of the points that it sees around the projection is
    much nearer. ONE: the point projects beyond the border, or all of the points seen around it are much nearer, so that
    something hides it. UNSETTLED: some of them are nearer and some are not, or there are too few.
    """
    there = points.of_frame(frame)
    pixels, z = project(points.xyz[shown], camera.K[0], camera.c2w[0])
    (h, w), (x, y) = camera.size, pixels.unbind(1)
    outside = (z <= 0) | (x < 0) | (x >= w) | (y < 0) | (y >= h)
    others, depth = project(points.xyz[there], camera.K[0], camera.c2w[0])
    around = torch.cdist(pixels.nan_to_num(), others) < NEIGHBOURHOOD * min(h, w)
    nearer = depth < NEARER * z[:, None]
    enough = around.sum(1) >= LEAST_NEIGHBOURS
    answer = torch.full((len(shown),), UNSETTLED)
    answer[enough & ~(around & nearer).any(1)] = BOTH
    answer[outside | (enough & (nearer | ~around).all(1))] = ONE
    answer[torch.isin(shown, there)] = BOTH
    return answer


def relative_errors(depth: Tensor, pixels: Tensor, z: Tensor) -> Tensor:
    """|depth / truth - 1| at pixel positions, [N]; the depth map is interpolated as inverse depth.

    depth: [h, w], camera z.  pixels: [N, 2].  z: [N], the truth.
    """
    inverse = 1 / depth.double().clamp_min(1e-9)
    grid = sampling_grid(pixels, (depth.shape[0], depth.shape[1]))[None, None]
    there = F.grid_sample(inverse[None, None], grid, padding_mode="border", align_corners=False)[0, 0, 0]
    return (1 / (there * z) - 1).abs()


def near_edges(depth: Tensor, pixels: Tensor) -> Tensor:
    """Which pixel positions [N, 2] lie beside a jump of the depth map [h, w], or at its border: [N]."""
    (h, w), (x, y) = depth.shape, pixels.unbind(1)
    padded = F.pad(depth[None, None].double(), (1, 1, 1, 1), mode="replicate")
    jump = F.max_pool2d(padded, 3, 1) / -F.max_pool2d(-padded, 3, 1) > JUMP
    beside = F.max_pool2d(jump.double(), 2 * BESIDE_JUMP + 1, 1, BESIDE_JUMP)[0, 0] > 0
    border = torch.stack([x, y, w - x, h - y]).amin(0) < BESIDE_BORDER
    return border | beside[y.long().clamp(0, h - 1), x.long().clamp(0, w - 1)]


def errors_by_row(points: TruePoints, context: tuple[int, int], cameras: Cameras, depth: Tensor) -> dict[str, Tensor]:
    """Relative errors of the depth of two photographs at the points that each shows, for each of ROWS.

    context: their frames.  cameras: theirs.  depth: [2, h, w], predicted camera z in the units of the cameras.
    """
    cameras = cameras.to(torch.float64)
    parts = []
    for view in (0, 1):
        shown = points.of_frame(context[view])
        seen = sight(points, shown, context[1 - view], cameras[[1 - view]])
        pixels, z = project(points.xyz[shown], cameras.K[view], cameras.c2w[view])
        parts.append(
            torch.stack(
                [relative_errors(depth[view], pixels, z), seen.double(), near_edges(depth[view], pixels).double()]
            )
        )
    error, seen, edge = torch.cat(parts, 1)
    whole, edge = torch.ones_like(edge) > 0, edge > 0
    masks = (whole, seen == BOTH, seen == ONE, seen == UNSETTLED, (seen == BOTH) & ~edge, (seen == ONE) & ~edge, edge)
    return {name: error[mask] for name, mask in zip(ROWS, masks, strict=True)}


def figures(errors: Tensor) -> Figures:
    """What a table says about relative errors [N]; without any, only that there are none."""
    if len(errors) == 0:
        return {"points": 0}
    values = {"median": errors.median(), "mean": errors.mean(), "within 5 %": (errors < 0.05).double().mean()}
    values["within 25 %"] = (errors < 0.25).double().mean()
    return {"points": len(errors)} | {name: float(value) for name, value in values.items()}


def mean_of_scenes(scenes: list[Figures]) -> Figures:
    """Means over scenes, each of which weighs the same; `points` is the sum."""
    names = [name for name in (scenes[0] if scenes else {}) if name != "points"]
    means = {name: math.fsum(scene[name] for scene in scenes) / len(scenes) for name in names}
    return {"points": sum(scene["points"] for scene in scenes)} | means
