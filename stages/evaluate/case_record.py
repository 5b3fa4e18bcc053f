"""The values of one method on one case, and their form in JSON: OUT/cases/METHOD/CASE.json and metrics.json."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from stages.errors import InputError
from stages.files.documents import read_json

NOT_AVAILABLE = "n/a"  # stands for a value that could not be measured

POSE_ERRORS = ("rotation error", "translation error", "focal ratio")  # keys in `CaseRecord.cameras`, see unposed.py

Figure = float | str | None
"""A value, None for an infinite PSNR (equal images), or "n/a"."""

OPTIONAL = ("cameras", "student", "fingerprint")  # left out of the JSON where they are None


@dataclass(frozen=True)
class CaseRecord:
    """The values of one method on one case.

    context, target: indices of the photographs and of the target frames in the scene's transforms.json.
    seconds: how long the method took.  mean: metric -> mean over the targets.
    frames: metric -> a value per target, or "n/a".
    context_psnr: PSNR (dB) at the two context cameras.
    coverage: share of pixels that the method's coverage calls seen, PSNR of these and of the others; None without
    coverage.
    i3d: "made" and "truth" -> I3D logits; None if the clip is short or the network is missing.
    cameras: for a method that gets no cameras, whether they could be estimated, and how wrong the estimates are.
    student: which video model repaired the clip.  fingerprint: hash of all that decides the values.
    """

    method: str
    case: str
    scene: str
    kind: str
    context: tuple[int, ...]
    target: tuple[int, ...]
    seconds: float
    mean: Mapping[str, Figure]
    frames: Mapping[str, list[float | None] | str]
    context_psnr: list[float | None]
    coverage: Mapping[str, float | None] | None
    i3d: Mapping[str, list[float]] | None = None
    cameras: Mapping[str, Any] | None = None
    student: Mapping[str, Any] | None = None
    fingerprint: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The record in the form for JSON. Keys have spaces in place of underscores."""
        names = [field.name for field in fields(self)]
        present = [name for name in names if name not in OPTIONAL or getattr(self, name) is not None]
        return {name.replace("_", " "): getattr(self, name) for name in present}

    def figures(self) -> dict[str, Any]:
        """What reports show of the record: all but the logits and the fingerprint."""
        return {name: value for name, value in self.to_json().items() if name not in ("i3d", "fingerprint")}


def read_record(path: Path) -> CaseRecord:
    """Read OUT/cases/METHOD/CASE.json. Raises InputError when it is no record of this program."""
    return _from_json(read_json(path), str(path))


def records_of_report(metrics: Mapping[str, Any]) -> list[CaseRecord]:
    """The cases of a metrics.json of the two-view protocol, without logits and fingerprints."""
    return [_from_json(case, "metrics.json") for case in metrics["cases"]]


def _from_json(document: Any, file: str) -> CaseRecord:
    try:
        return CaseRecord(**{name.replace(" ", "_"): value for name, value in document.items()})
    except (AttributeError, TypeError) as error:
        raise InputError(f"cannot use {file}", "it holds no record of this program", "evaluate with --force") from error
