"""One method on one two-view case, as a piece of work that can be resumed and handed to another process.

A job is done when OUT/cases/METHOD/CASE.json exists, which is published in one piece; so a run that is killed goes on where it was,
loses no case and counts none twice.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.errors import InputError
from stages.files.documents import read_json
from videoscene_cli.artifact import REPLACE, Request
from videoscene_cli.engine import Engine
from videoscene_cli.options import Shared

if TYPE_CHECKING:
    from stages.evaluate.baselines import Method
    from stages.evaluate.cases import Case

METHODS = ("crossfade", "nearest", "plane-sweep", "render")
WITH_WEIGHTS = ("render",)


@dataclass(frozen=True)
class Job:
    """One method on one case: where its record goes, and with `keep` its frames."""

    case: Case
    method: str
    out: Path
    keep: bool
    shared: Shared
    fingerprint: str

    @property
    def record(self) -> Path:
        return self.out / "cases" / self.method / f"{self.case.name}.json"

    @property
    def frames(self) -> Path:
        return self.out / "frames" / self.method / self.case.name

    def is_done(self) -> bool:
        """Whether the record is there. Raises InputError, naming --force, when it is of another request."""
        if self.shared.force or not self.record.exists() or (self.keep and not self.frames.exists()):
            return False
        found = read_json(self.record)
        if not isinstance(found, dict) or found.get("fingerprint") != self.fingerprint:
            raise InputError(f"{self.record} holds another result", "its inputs, weights or version were others", REPLACE)
        return True


def make_job(case: Case, method: str, out: Path, keep: bool, engine: Engine) -> Job:
    """Fingerprint a job: the case, its files, the protocol and the weights. Raises InputError when a file is missing."""
    return Job(case, method, out, keep, engine.shared, request_of(case, method, engine).fingerprint)


def request_of(case: Case, method: str, engine: Engine) -> Request:
    """Everything that decides the figures of a method on a case."""
    from stages.evaluate.two_view import PROTOCOL
    from stages.files.transforms import read_transforms

    transforms = case.scene / "transforms.json"
    names = read_transforms(transforms)[1]
    used = {f"frame {index}": case.scene / names[index] for index in (*case.context, *case.targets)}
    options = {"method": method, "kind": case.kind, "protocol": PROTOCOL, "context": list(case.context), "target": list(case.targets)}
    weights = {"prior": engine.weights.record()} if method in WITH_WEIGHTS else {}
    return Request("evaluate --two-view", options, {"transforms": transforms, **used}, weights)


def run_job(job: Job) -> dict[str, Any]:
    """Run the method, measure, publish the frames if they are to be kept and then the record; returns the record."""
    from stages.evaluate.two_view import measure
    from stages.files.clip import write_clip
    from stages.files.publish import publish, write_json

    result = measure(job.case, _method(job.method, job.shared))
    if job.keep:
        with publish(job.frames) as partial:
            write_clip(partial, result.clip)
    record = {"method": job.method, **result.record(), "fingerprint": job.fingerprint}
    write_json(job.record, record)
    return record


@functools.lru_cache
def _method(name: str, shared: Shared) -> Method:
    from stages.evaluate import baselines, plane_sweep
    from stages.prior.pose import near_far_from_cameras

    if name == "plane-sweep":
        return plane_sweep.plane_sweep(lambda views: near_far_from_cameras(list(views.images), views.cameras))
    if name == "render":
        from stages.evaluate.prior import render_prior

        return render_prior(Engine(shared, shared.report()).network)
    return {"crossfade": baselines.crossfade, "nearest": baselines.nearest}[name]


def run_jobs(jobs: Sequence[Job], processes: int) -> Iterator[tuple[Job, dict[str, Any] | Exception]]:
    """Run jobs here or in several processes; yields each with its record, or the error that it met, as they end."""
    if processes == 1:
        for job in jobs:
            yield job, _attempt(job)
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), _share_cores, (processes,)) as pool:
        pending: dict[Future[dict[str, Any] | Exception], Job] = {pool.submit(_attempt, job): job for job in jobs}
        for future in as_completed(pending):
            yield pending[future], future.result()


def _attempt(job: Job) -> dict[str, Any] | Exception:
    """An error of one case is a result like another; an interruption is not."""
    try:
        return run_job(job)
    except Exception as error:
        return error


def _share_cores(processes: int) -> None:
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
