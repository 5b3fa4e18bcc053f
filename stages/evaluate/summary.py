"""Means over many two-view records, and the distances between sets of clips."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from stages.evaluate.case_record import NOT_AVAILABLE, CaseRecord, Figure
from stages.metrics.fvd import frechet_distance, kernel_distance


def summarise(records: Sequence[CaseRecord]) -> dict[str, Any]:
    """The figures of one method, for each kind of case and for all cases.

    Returns kind -> {"cases": number, "mean": {metric: mean of the case means, "fvd", "kvd"}, "clips": number of clips
    in fvd and kvd, "context psnr": {"mean", "worst"}, "coverage": means over the cases that have it, "seconds": mean}.
    None stands for an infinite PSNR, "n/a" for what could not be measured.
    """
    kinds = {kind: [record for record in records if record.kind == kind] for kind in sorted({r.kind for r in records})}
    return {kind: _of_one_kind(group) for kind, group in (kinds | {"all": list(records)}).items() if group}


def _of_one_kind(records: Sequence[CaseRecord]) -> dict[str, Any]:
    context = [value for record in records for value in record.context_psnr]
    clips = [record.i3d for record in records if record.i3d]
    means = {name: mean(record.mean[name] for record in records) for name in records[0].mean}
    return {
        "cases": len(records),
        "mean": means | _distances(clips),
        "clips": len(clips),
        "context psnr": {
            "mean": mean(context),
            "worst": min((value for value in context if value is not None), default=None),
        },
        "coverage": _coverage([record.coverage for record in records if record.coverage]),
        "seconds": mean(record.seconds for record in records),
    }


def _distances(clips: Sequence[Mapping[str, list[float]]]) -> dict[str, Figure]:
    if len(clips) < 2:
        return {"fvd": NOT_AVAILABLE, "kvd": NOT_AVAILABLE}
    made, truth = (torch.tensor([clip[part] for clip in clips]) for part in ("made", "truth"))
    return {"fvd": frechet_distance(made, truth), "kvd": kernel_distance(made, truth)}


def _coverage(splits: Sequence[Mapping[str, float | None]]) -> dict[str, float] | None:
    if not splits:
        return None
    present = {name: [value for split in splits if (value := split[name]) is not None] for name in splits[0]}
    return {name: sum(values) / len(values) for name, values in present.items() if values}


def mean(values: Iterable[Figure]) -> Figure:
    """The mean of some values.

    It is "n/a" if a value is "n/a". Otherwise it is None, which stands for infinity, if a value is None, and also if
    there are no values.
    """
    listed = list(values)
    if NOT_AVAILABLE in listed:
        return NOT_AVAILABLE
    numbers = [value for value in listed if isinstance(value, float)]
    return sum(numbers) / len(numbers) if len(numbers) == len(listed) and numbers else None
