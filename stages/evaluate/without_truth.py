"""Figures of a finished scene whose truth is unknown.

Do the ends show the photographs? Does the clip hold still, does it move, and does it show one rigid scene?
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from stages.evaluate.case_record import NOT_AVAILABLE
from stages.evaluate.frame_metrics import VBENCH
from stages.files.images import as_in_png
from stages.metrics import temporal
from stages.metrics.camera_consistency import epipolar_distance, triangulated_depth
from stages.metrics.image import psnr, ssim
from stages.prior.matching import Matches
from stages.render import render
from stages.scene import Cameras, Clip, Gaussians, Views
from stages.splat import draw, near_plane

VIEWS = 7  # number of evenly spaced frames that are matched, each with the next, and the first with the last
# Largest distance in pixels of a verified match from its epipolar lines, at a short side of 256 pixels.
GOOD_PIXELS = 2.0
SAME_POSE = 1e-4  # largest difference in any entry of two poses that count as the same
MOVED = 0.01  # share of the clip's extent below which two frames are too near to one another to have epipolar lines
KNOWN_DEPTH = 0.5  # smallest coverage at which the prior's depth is used

PROTOCOL = {
    "name": "scene",
    "version": 2,
    "truth": "none; the photographs, the cameras and the prior's Gaussians are what the clip is compared with",
    "photographs": (
        "frames within 1e-4 of a photograph's pose against it, PSNR (dB) and SSIM as in the two-view protocol"
    ),
    "matches": (
        f"XFeat and LighterGlue, {VIEWS} frames evenly along the clip, each with the next, first with last, if the "
        "camera moved"
    ),
    "verified": f"within {GOOD_PIXELS} px (at a short side of 256) of the epipolar lines of the clip's cameras",
    "epipolar error": "median over all matches, px at the size of the clip, mean of the two distances of a match",
    "depth difference": "median over verified matches of |triangulated z / prior's z - 1|",
    "re-render psnr": "the refined scene, rendered along the clip's path, against the clip, dB",
    **temporal.PROTOCOL,
    "n/a": "its network is not part of this package: "
    + "; ".join(f"{name}: {network}" for name, network in VBENCH.items()),
}


@dataclass(frozen=True, eq=False)
class PairMatches:
    """Matches between two frames.

    frames: their indices.  points_a, points_b: [M, 2], pixels.  distance: [M], pixels from the epipolar lines.
    good: [M], whether the match is verified.
    """

    frames: tuple[int, int]
    points_a: Tensor
    points_b: Tensor
    distance: Tensor
    good: Tensor


def match_clip(clip: Clip, match: Callable[[Tensor, Tensor], Matches]) -> list[PairMatches]:
    """Match frames along the clip, each with the next and the first with the last, and verify the matches.

    match: gives the matches of two images [3, h, w], such as stages.prior.matching.Matcher. Pairs from one position,
    such as the ends of a closed path, are left out, because their cameras give no epipolar lines.
    """
    chosen = torch.linspace(0, len(clip.frames) - 1, min(VIEWS, len(clip.frames))).round().long().tolist()
    pairs = [*pairwise(chosen), *([(chosen[0], chosen[-1])] if len(chosen) > 2 else [])]
    centres = clip.cameras.c2w[:, :3, 3].double()
    apart = torch.cdist(centres, centres)
    limit = GOOD_PIXELS * min(clip.cameras.size) / 256
    matched = []
    for i, j in pairs:
        if apart[i, j] <= MOVED * apart.max():
            continue
        matches = match(clip.frames[i], clip.frames[j])
        distance = epipolar_distance(matches.points_a, matches.points_b, clip.cameras[[i, j]])
        matched.append(PairMatches((i, j), matches.points_a, matches.points_b, distance, distance < limit))
    return matched


def measure_scene(
    clip: Clip, views: Views, prior: Gaussians | None, refined: Gaussians | None, pairs: list[PairMatches]
) -> dict[str, Any]:
    """All figures of a clip that need no truth.

    views: the two photographs.  prior: the coarse Gaussians, or None.  refined: those of `reconstruct`, or None.
    pairs: from `match_clip`.  Returns {"scene": figures, "frames": figures per frame or pair}, in the form for JSON.
    Raises InputError for fewer than two frames.
    """
    # Measure frames, photographs, matches and the refined scene.
    frames = as_in_png(clip.frames)
    flicker, flow = temporal.flickering(frames), temporal.mean_flow(frames)
    photographs = [_photograph(frames, clip.cameras, image, k, views.cameras) for k, image in enumerate(views.images)]
    distance = torch.cat([pair.distance for pair in pairs]) if pairs else torch.empty(0)
    good = torch.cat([pair.good for pair in pairs]) if pairs else torch.empty(0, dtype=torch.bool)
    refined_psnr = None if refined is None else psnr(as_in_png(render(refined, clip.cameras).frames), frames)
    # Collect the figures.
    scene = {
        "photographs": photographs,
        "temporal flickering": float(flicker.mean()),
        "mean flow": float(flow.mean()),
        "matches": len(distance),
        "verified": float(good.double().mean()) if len(good) else None,
        "epipolar error": float(distance.median()) if len(distance) else None,
        "depth difference": NOT_AVAILABLE if prior is None else _depth_difference(clip.cameras, prior, pairs),
        "re-render psnr": NOT_AVAILABLE if refined_psnr is None else float(refined_psnr.mean()),
        "coverage": NOT_AVAILABLE if clip.coverage is None else float(clip.coverage.double().mean()),
        **dict.fromkeys(VBENCH, NOT_AVAILABLE),
    }
    pair_figures = [{"frames": list(p.frames), "matches": len(p.good), "verified": int(p.good.sum())} for p in pairs]
    frame_figures = {"temporal flickering": flicker.tolist(), "mean flow": flow.tolist(), "matches": pair_figures}
    return {
        "scene": scene,
        "frames": frame_figures | ({} if refined_psnr is None else {"re-render psnr": refined_psnr.tolist()}),
    }


def _photograph(
    frames: Tensor, cameras: Cameras, image: Tensor, index: int, photograph_cameras: Cameras
) -> dict[str, float | int | None] | None:
    """The frame at a photograph's pose, and how well it shows the photograph; None if the path does not pass there."""
    difference = (cameras.c2w.double() - photograph_cameras.c2w[index].double()).abs().amax((1, 2))
    frame = int(difference.argmin())
    if difference[frame] > SAME_POSE or cameras.size != photograph_cameras.size:
        return None
    value = float(psnr(frames[frame : frame + 1], as_in_png(image)[None]))
    return {
        "frame": frame,
        "psnr": value if value < float("inf") else None,
        "ssim": float(ssim(frames[frame : frame + 1], image[None])),
    }


def _depth_difference(cameras: Cameras, prior: Gaussians, pairs: list[PairMatches]) -> float | None:
    """The median of |z / z_prior - 1| over verified matches where the prior's depth is known; None without any."""
    differences, near = [], near_plane(prior.means, cameras)
    for pair in pairs:
        drawing = draw(prior, cameras[[pair.frames[0]]], near=near)
        h, w = cameras.size
        x, y = pair.points_a[pair.good].long().unbind(1)
        x, y = x.clamp(0, w - 1), y.clamp(0, h - 1)
        z_prior, has_depth = drawing.depth[0, y, x].double().cpu(), drawing.alpha[0, y, x].cpu() >= KNOWN_DEPTH
        z = triangulated_depth(pair.points_a[pair.good], pair.points_b[pair.good], cameras[list(pair.frames)])
        difference = (z / z_prior - 1).abs()[has_depth & (z > 0)]
        differences.append(difference[torch.isfinite(difference)])
    pooled = torch.cat(differences) if differences else torch.empty(0)
    return float(pooled.median()) if len(pooled) else None
