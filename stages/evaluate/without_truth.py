"""A finished scene without a truth: do the ends show the photographs, does the clip hold still, move, and stay one rigid scene?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor

from stages.evaluate.frame_metrics import NOT_AVAILABLE, VBENCH
from stages.metrics import temporal
from stages.metrics.camera_consistency import epipolar_distance, triangulated_depth
from stages.metrics.image import as_stored, psnr, ssim
from stages.render import render
from stages.scene import Cameras, Clip, Gaussians, Views
from stages.splat import draw, near_plane

VIEWS = 7  # frames, evenly along the clip, that are matched each with the next, and the first with the last
GOOD_PIXELS = 2.0  # px from the epipolar lines that a verified match may be off, for a short side of 256 px, in proportion for others
SAME_POSE = 1e-4  # in every entry of the pose: the frame is taken from where the photograph was
MOVED = 0.01  # of the clip's extent: frames taken nearer to one another have no epipolar lines to speak of
KNOWN_DEPTH = 0.5  # coverage from which the prior says a depth

PROTOCOL = {
    "name": "scene",
    "version": 2,
    "truth": "none; the photographs, the cameras and the prior's Gaussians are what the clip is compared with",
    "photographs": "frames within 1e-4 of a photograph's pose against it, PSNR (dB) and SSIM as in the two-view protocol",
    "matches": f"XFeat and LighterGlue, {VIEWS} frames evenly along the clip, each with the next, first with last, if the camera moved",
    "verified": f"within {GOOD_PIXELS} px (at a short side of 256) of the epipolar lines of the clip's cameras",
    "epipolar error": "median over all matches, px at the size of the clip, mean of the two distances of a match",
    "depth difference": "median over verified matches of |triangulated z / prior's z - 1|",
    "re-render psnr": "frames of `reconstruct`, drawn along the clip's path, against the clip, dB",
    **temporal.PROTOCOL,
    "n/a": "its network is not part of this package: " + "; ".join(f"{name}: {network}" for name, network in VBENCH.items()),
}


class Correspondences(Protocol):
    """M matched points, [M, 2] px in each of two images (stages.prior.matching.Matches)."""

    @property
    def points_a(self) -> Tensor: ...
    @property
    def points_b(self) -> Tensor: ...


@dataclass(frozen=True)
class PairMatches:
    """Matches between two frames. frames: their indices.  points_a, points_b: [M, 2], px.  distance: [M], px from the epipolar lines."""

    frames: tuple[int, int]
    points_a: Tensor
    points_b: Tensor
    distance: Tensor
    good: Tensor


def match_clip(clip: Clip, match: Callable[[Tensor, Tensor], Correspondences]) -> list[PairMatches]:
    """Match frames along the clip, each with the next and the first with the last, and verify them by the clip's cameras.

    match: two images [3, h, w] to their matches, such as stages.prior.matching.Matcher. Pairs from one place, such as the ends of a closed
    path, are left out: of their matches the cameras say nothing.
    """
    picked = torch.linspace(0, len(clip.frames) - 1, min(VIEWS, len(clip.frames))).round().long().tolist()
    pairs = [*pairwise(picked), *([(picked[0], picked[-1])] if len(picked) > 2 else [])]
    centres = clip.cameras.c2w[:, :3, 3].double()
    apart = torch.cdist(centres, centres)
    limit = GOOD_PIXELS * min(clip.cameras.size) / 256
    found = []
    for i, j in pairs:
        if apart[i, j] <= MOVED * apart.max():
            continue
        matches = match(clip.frames[i], clip.frames[j])
        distance = epipolar_distance(matches.points_a, matches.points_b, clip.cameras[[i, j]])
        found.append(PairMatches((i, j), matches.points_a, matches.points_b, distance, distance < limit))
    return found


def measure_scene(clip: Clip, views: Views, prior: Gaussians | None, refined: Gaussians | None, pairs: list[PairMatches]) -> dict[str, Any]:
    """Everything that can be said of a clip without its truth.

    views: the two photographs.  prior: the coarse Gaussians, refined: those of `reconstruct`, or None.  pairs: of `match_clip`.
    Returns {"scene": figures, "frames": figures a frame or a pair}, ready for JSON. Raises InputError for fewer than two frames.
    """
    frames = as_stored(clip.frames)
    flicker, flow = temporal.flickering(frames), temporal.mean_flow(frames)
    photographs = [_photograph(frames, clip.cameras, image, k, views.cameras) for k, image in enumerate(views.images)]
    distance = torch.cat([pair.distance for pair in pairs]) if pairs else torch.empty(0)
    good = torch.cat([pair.good for pair in pairs]) if pairs else torch.empty(0, dtype=torch.bool)
    again = None if refined is None else psnr(as_stored(render(refined, clip.cameras).frames), frames)
    scene = {
        "photographs": photographs,
        "temporal flickering": float(flicker.mean()),
        "mean flow": float(flow.mean()),
        "matches": len(distance),
        "verified": float(good.double().mean()) if len(good) else None,
        "epipolar error": float(distance.median()) if len(distance) else None,
        "depth difference": NOT_AVAILABLE if prior is None else _depth_difference(clip.cameras, prior, pairs),
        "re-render psnr": NOT_AVAILABLE if again is None else float(again.mean()),
        "coverage": NOT_AVAILABLE if clip.coverage is None else float(clip.coverage.double().mean()),
        **dict.fromkeys(VBENCH, NOT_AVAILABLE),
    }
    of_pairs = [{"frames": list(p.frames), "matches": len(p.good), "verified": int(p.good.sum())} for p in pairs]
    each = {"temporal flickering": flicker.tolist(), "mean flow": flow.tolist(), "matches": of_pairs}
    return {"scene": scene, "frames": each | ({} if again is None else {"re-render psnr": again.tolist()})}


def _photograph(frames: Tensor, cameras: Cameras, image: Tensor, index: int, given: Cameras) -> dict[str, float | int | None] | None:
    """The frame taken from where a photograph was, and how well it shows it; None if the path does not pass there."""
    off = (cameras.c2w.double() - given.c2w[index].double()).abs().amax((1, 2))
    frame = int(off.argmin())
    if off[frame] > SAME_POSE or cameras.size != given.size:
        return None
    value = float(psnr(frames[frame : frame + 1], as_stored(image)[None]))
    return {"frame": frame, "psnr": value if value < float("inf") else None, "ssim": float(ssim(frames[frame : frame + 1], image[None]))}


def _depth_difference(cameras: Cameras, prior: Gaussians, pairs: list[PairMatches]) -> float | None:
    """Median of |z / z_prior - 1| over verified matches where the prior knows the depth; None without any."""
    differences = []
    for pair in pairs:
        drawing = draw(prior, cameras[[pair.frames[0]]], near=near_plane(prior.means, cameras))
        h, w = cameras.size
        x, y = pair.points_a[pair.good].long().unbind(1)
        x, y = x.clamp(0, w - 1), y.clamp(0, h - 1)
        z_prior, known = drawing.depth[0, y, x].double(), drawing.alpha[0, y, x] >= KNOWN_DEPTH
        z = triangulated_depth(pair.points_a[pair.good], pair.points_b[pair.good], cameras[list(pair.frames)])
        difference = (z / z_prior - 1).abs()[known & (z > 0)]
        differences.append(difference[torch.isfinite(difference)])
    pooled = torch.cat(differences) if differences else torch.empty(0)
    return float(pooled.median()) if len(pooled) else None
