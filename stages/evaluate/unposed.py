"""The two-view protocol without cameras: a method gets cameras that are estimated from its two photographs.

The target cameras must then be moved into the world of the estimated pair. This is done by the similarity that takes
the true pair of cameras onto the estimated pair. It does not fit exactly, so each of the two cameras keeps an offset. A
target gets a mixture of both offsets, with more of the nearer camera's. So a target at a photograph's true camera is
rendered at its estimated camera, and errors of the estimate show between the two, where a user would see them.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stages.errors import RunError
from stages.evaluate.case_record import POSE_ERRORS, CaseRecord
from stages.evaluate.cases import Task
from stages.evaluate.method_baselines import Method, crossfade
from stages.evaluate.protocol import MethodResult, make
from stages.evaluate.summary import mean
from stages.geometry import turned_by
from stages.prior.pose import estimate_cameras
from stages.scene import Cameras, Views

PROTOCOL = {
    "given": (
        "the two context photographs at the size of the protocol, without cameras; K and relative pose are estimated "
        "from matches"
    ),
    "targets": "true poses moved by the motion that takes the true cameras of the photographs onto the estimated ones",
    "K of targets": "the true one, changed as the estimate changes focal length and principal point of the photographs",
    "no cameras": "a case whose cameras cannot be estimated counts as the crossfade of its photographs, and is listed",
    "both": "means over the cases that have cameras, next to those of the posed method over the same cases",
}


def make_unposed(task: Task, method: Method) -> tuple[MethodResult, dict[str, Any]]:
    """Run a method on a task with estimated cameras or, where they cannot be estimated, the crossfade.

    Returns the result, and facts of the cameras for the record.
    """
    try:
        task, errors = unpose(task)
    except RunError as error:
        return make(task, crossfade), {"found": False, "why": str(error)}
    return make(task, method), {"found": True, **errors}


def unpose(task: Task) -> tuple[Task, dict[str, float]]:
    """A task with estimated cameras, and their errors. Raises RunError when cameras cannot be estimated.

    The errors are {"rotation error", "translation error": degrees between the true and the estimated relative pose,
    "focal ratio": estimated focal length divided by the true one}.
    """
    # Estimate the photographs' cameras, and move the target cameras accordingly.
    estimated = estimate_cameras(list(task.context.images))
    true, pair = task.context.cameras, estimated.c2w.double()
    context = Views(task.context.images, Cameras(pair, estimated.K.double(), true.size))
    c2w = align(true.c2w.double(), pair, task.cameras.c2w.double(), task.times.double())
    # Change the targets' intrinsics as the estimate changes those of the photographs.
    ratio = (estimated.K.double()[:, 0, 0] / true.K.double()[:, 0, 0]).mean()
    K = task.cameras.K.double().clone()
    K[:, (0, 1), (0, 1)] *= ratio
    K[:, :2, 2] += (estimated.K.double() - true.K.double())[:, :2, 2].mean(0)
    facts = {**pose_error(true.c2w.double(), pair), "focal ratio": float(ratio)}
    return Task(context, Cameras(c2w, K, task.cameras.size), task.truth, task.times), facts


def align(pair: Tensor, onto: Tensor, poses: Tensor, times: Tensor) -> Tensor:
    """Move poses by the motion that takes one pair of cameras onto another.

    pair, onto: [2, 4, 4].  poses: [T, 4, 4].  All are camera-to-world.
    times: [T], 0 at the pair's first camera, 1 at its second.
    """
    times = times.clamp(0, 1)[:, None]
    first, second = onto[:, :3, :3] @ pair[:, :3, :3].mT
    between = rotation_vector(first.T @ second)
    half = first @ turned_by(between / 2)
    centres, goals = pair[:, :3, 3], onto[:, :3, 3]
    scale = (goals[1] - goals[0]).norm() / (centres[1] - centres[0]).norm()

    def similarity(points: Tensor) -> Tensor:
        return scale * (points - centres.mean(0)) @ half.T + goals.mean(0)

    remainder = goals - similarity(centres)
    result = poses.clone()
    result[:, :3, :3] = first @ turned_by(times * between) @ poses[:, :3, :3]
    result[:, :3, 3] = similarity(poses[:, :3, 3]) + (1 - times) * remainder[0] + times * remainder[1]
    return result


def rotation_vector(rotation: Tensor) -> Tensor:
    """Axis times angle in radians, [3], of a rotation [3, 3] by less than half a turn."""
    skew = (rotation - rotation.T) / 2
    axis = torch.stack([skew[2, 1], skew[0, 2], skew[1, 0]])
    sine, cosine = axis.norm(), (rotation.trace() - 1) / 2
    return axis * torch.atan2(sine, cosine) / sine.clamp_min(1e-12)


def pose_error(true: Tensor, estimated: Tensor) -> dict[str, float]:
    """Angles in degrees between two relative poses: of rotation, and of the direction of translation.

    true, estimated: [2, 4, 4], camera-to-world.
    """
    a, b = (torch.linalg.inv(pair[0]) @ pair[1] for pair in (true, estimated))
    cosine = ((a[:3, :3].T @ b[:3, :3]).trace() - 1) / 2
    along = torch.nn.functional.cosine_similarity(a[:3, 3], b[:3, 3], 0)
    rotation, translation = (float(torch.rad2deg(torch.acos(value.clamp(-1, 1)))) for value in (cosine, along))
    return {"rotation error": rotation, "translation error": translation}


def against_posed(unposed: Sequence[CaseRecord], posed: Sequence[CaseRecord]) -> dict[str, Any]:
    """Compare a method without cameras with the same method with them.

    Returns for each kind of case:
    "cases": their number.  "found": the number of those with estimated cameras.  "not found": the names of the others.
    "all": "unposed" and "posed" -> means over all cases; a case without cameras counts as crossfade.
    "both": the same over the cases that have both.  "off": medians of the pose errors.
    """
    kinds = sorted({record.kind for record in unposed})
    return {
        kind: _of_kind(*([r for r in group if kind in (r.kind, "all")] for group in (unposed, posed)))
        for kind in [*kinds, "all"]
    }


def _of_kind(unposed: Sequence[CaseRecord], posed: Sequence[CaseRecord]) -> dict[str, Any]:
    cameras = {record.case: record.cameras or {} for record in unposed}
    solved = [name for name, facts in cameras.items() if facts["found"]]
    both = set(solved) & {record.case for record in posed}
    pairs = {
        "all": (unposed, posed),
        "both": tuple([r for r in group if r.case in both] for group in (unposed, posed)),
    }
    return {
        "cases": len(unposed),
        "found": len(solved),
        "not found": sorted(cameras.keys() - set(solved)),
        **{name: {"unposed": _means(groups[0]), "posed": _means(groups[1])} for name, groups in pairs.items()},
        "off": {
            name: float(torch.tensor([cameras[case][name] for case in solved]).median())
            for name in POSE_ERRORS
            if solved
        },
    }


def _means(records: Sequence[CaseRecord]) -> dict[str, Any]:
    return {metric: mean(record.mean[metric] for record in records) for metric in (records[0].mean if records else ())}
