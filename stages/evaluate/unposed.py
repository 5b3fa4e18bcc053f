"""The two-view protocol without cameras: a method works from cameras that are estimated from its two photographs.

The targets have to be drawn somewhere, so their true poses are brought into the frame of the estimated pair by the poses of the two
photographs: a similarity, and what the estimated pair is off after it, shared between its ends by how near a target is to them. So a target
at a photograph's true camera is drawn at its estimated one, and errors of the estimate show between the two, where a user would see them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from stages.evaluate.cases import Task
from stages.evaluate.summary import mean
from stages.geometry import turned_by
from stages.prior.pose import estimate_cameras
from stages.scene import Cameras, Views

PROTOCOL = {
    "given": "the two context photographs at the size of the protocol, without cameras; K and relative pose are estimated from matches",
    "targets": "true poses moved by what takes the true cameras of the photographs onto the estimated ones, blended from one to the other",
    "K of targets": "the true one, focal lengths and principal point changed as those of the photographs are by their estimate",
    "no cameras": "a case whose cameras cannot be estimated counts as the crossfade of its photographs, and is listed",
    "both": "means over the cases that have cameras, next to those of the posed method over the same cases",
}


def unpose(task: Task) -> tuple[Task, dict[str, float]]:
    """A task as it is without cameras, and how far these are off. Raises RunError when they cannot be estimated.

    Returns also {"rotation error", "translation error": degrees between the relative poses, estimated and true, "focal ratio": estimated
    focal length over the true one}.
    """
    found = estimate_cameras(list(task.context.images))
    true, pair = task.context.cameras, found.c2w.double()
    context = Views(task.context.images, Cameras(pair, found.K.double(), true.size))
    c2w = align(true.c2w.double(), pair, task.cameras.c2w.double(), task.times.double())
    ratio = (found.K.double()[:, 0, 0] / true.K.double()[:, 0, 0]).mean()
    K = task.cameras.K.double().clone()
    K[:, (0, 1), (0, 1)] *= ratio
    K[:, :2, 2] += (found.K.double() - true.K.double())[:, :2, 2].mean(0)
    facts = {**pose_error(true.c2w.double(), pair), "focal ratio": float(ratio)}
    return Task(context, Cameras(c2w, K, task.cameras.size), task.truth, task.times), facts


def align(pair: Tensor, onto: Tensor, poses: Tensor, times: Tensor) -> Tensor:
    """Poses moved by what takes one pair of cameras onto another.

    pair, onto: [2, 4, 4].  poses: [T, 4, 4]; camera-to-world all.  times: [T], 0 at the first camera of the pair, 1 at the second.
    """
    times = times.clamp(0, 1)[:, None]
    first, second = onto[:, :3, :3] @ pair[:, :3, :3].mT
    between = rotation_vector(first.T @ second)
    half = first @ turned_by(between / 2)
    centres, goals = pair[:, :3, 3], onto[:, :3, 3]
    scale = (goals[1] - goals[0]).norm() / (centres[1] - centres[0]).norm()

    def moved(points: Tensor) -> Tensor:
        return scale * (points - centres.mean(0)) @ half.T + goals.mean(0)

    off = goals - moved(centres)
    result = poses.clone()
    result[:, :3, :3] = first @ turned_by(times * between) @ poses[:, :3, :3]
    result[:, :3, 3] = moved(poses[:, :3, 3]) + (1 - times) * off[0] + times * off[1]
    return result


def rotation_vector(rotation: Tensor) -> Tensor:
    """Axis times angle, radians, of a rotation [3, 3] by less than half a turn. [3]."""
    skew = (rotation - rotation.T) / 2
    axis = torch.stack([skew[2, 1], skew[0, 2], skew[1, 0]])
    sine, cosine = axis.norm(), (rotation.trace() - 1) / 2
    return axis * torch.atan2(sine, cosine) / sine.clamp_min(1e-12)


def pose_error(true: Tensor, estimated: Tensor) -> dict[str, float]:
    """Degrees between two relative poses: of rotation, and of the direction of translation. Both: [2, 4, 4], camera-to-world."""
    a, b = (torch.linalg.inv(pair[0]) @ pair[1] for pair in (true, estimated))
    cosine = ((a[:3, :3].T @ b[:3, :3]).trace() - 1) / 2
    along = torch.nn.functional.cosine_similarity(a[:3, 3], b[:3, 3], 0)
    rotation, translation = (float(torch.rad2deg(torch.acos(value.clamp(-1, 1)))) for value in (cosine, along))
    return {"rotation error": rotation, "translation error": translation}


def against_posed(unposed: Sequence[Mapping[str, Any]], posed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What it costs a method to have no cameras. unposed, posed: its records, see `stages.evaluate.protocol.compare`.

    Returns kind -> {"cases", "found": number with cameras, "not found": names, "all": {"unposed", "posed"} -> means over every case, those
    without cameras as crossfade, "both": the same over cases that have both, "off": medians of the pose errors}.
    """
    kinds = sorted({record["kind"] for record in unposed})
    return {kind: _of_kind(*([r for r in group if kind in (r["kind"], "all")] for group in (unposed, posed))) for kind in [*kinds, "all"]}


def _of_kind(unposed: Sequence[Mapping[str, Any]], posed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found = [record for record in unposed if record["cameras"]["found"]]
    both = {record["case"] for record in found} & {record["case"] for record in posed}
    pairs = {"all": (unposed, posed), "both": tuple([r for r in group if r["case"] in both] for group in (unposed, posed))}
    return {
        "cases": len(unposed),
        "found": len(found),
        "not found": sorted(record["case"] for record in unposed if not record["cameras"]["found"]),
        **{name: {"unposed": _means(groups[0]), "posed": _means(groups[1])} for name, groups in pairs.items()},
        "off": {
            name: float(torch.tensor([record["cameras"][name] for record in found]).median())
            for name in ("rotation error", "translation error", "focal ratio")
            if found
        },
    }


def _means(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {metric: mean(record["mean"][metric] for record in records) for metric in (records[0]["mean"] if records else ())}
