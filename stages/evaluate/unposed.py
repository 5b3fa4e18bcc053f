"""The two-view protocol without cameras: a method gets cameras that are estimated from its two photographs.

The target cameras must then be placed in the world of the estimated pair (target_cameras.py).
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
from stages.evaluate.target_cameras import place_targets
from stages.prior.pose import estimate_cameras
from stages.scene import Cameras, Views

PROTOCOL = {
    "given": (
        "the two context photographs at the size of the protocol, without cameras; K and relative pose are estimated "
        "from matches"
    ),
    "targets": (
        "placed where they see the matched points of the photographs, in the world of the estimated cameras, as the "
        "true target cameras see them in the true world"
    ),
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
    estimated = estimate_cameras(list(task.context.images))
    true, pair = task.context.cameras, estimated.c2w.double()
    context = Views(task.context.images, Cameras(pair, estimated.K.double(), true.size))
    # Change the targets' intrinsics as the estimate changes those of the photographs.
    ratio = (estimated.K.double()[:, 0, 0] / true.K.double()[:, 0, 0]).mean()
    K = task.cameras.K.double().clone()
    K[:, (0, 1), (0, 1)] *= ratio
    K[:, :2, 2] += (estimated.K.double() - true.K.double())[:, :2, 2].mean(0)
    targets = place_targets(task, context.cameras, K)
    facts = {**pose_error(true.c2w.double(), pair), "focal ratio": float(ratio)}
    return Task(context, targets, task.truth, task.times), facts


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
    "both": the same over those cases that were measured with and without cameras and whose cameras could be estimated.
    "off": medians of the pose errors.
    """
    kinds = sorted({record.kind for record in unposed})
    return {
        kind: _of_kind(*([r for r in group if kind in (r.kind, "all")] for group in (unposed, posed)))
        for kind in [*kinds, "all"]
    }


def _of_kind(unposed: Sequence[CaseRecord], posed: Sequence[CaseRecord]) -> dict[str, Any]:
    """What `against_posed` returns for one kind of case. unposed, posed: the records of this kind."""
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
