"""Jobs of the two-view protocol: one method on one case. A job can be resumed, and another process can run it.

A job is done when OUT/cases/METHOD/CASE.json exists. This file appears complete or not at all, so a killed run
continues where it was, loses no case and counts none twice.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from stages.errors import DeviceError, InputError, RunError, StageError, WeightsError
from videoscene_cli.evaluation.methods import Setup, Students, decides, open_method, open_session, read_method
from videoscene_cli.models.allocator import keep_freed_memory
from videoscene_cli.models.metric_networks import folder_of_networks
from videoscene_cli.models.session import Session
from videoscene_cli.results.produce import REPLACE
from videoscene_cli.results.request import Request

if TYPE_CHECKING:
    import torch

    from stages.evaluate.case_record import CaseRecord
    from stages.evaluate.cases import Case, Task
    from stages.evaluate.frame_metrics import Instruments
    from stages.evaluate.protocol import MethodResult

Outcome: TypeAlias = "CaseRecord | Exception"


@dataclass(frozen=True)
class Job:
    """One method on one case.

    out: folder of the report.  keep: store the frames too.
    fingerprint: of all that decides the record; None in a plan if some files are not hashed yet.
    """

    case: Case
    method: str
    out: Path
    keep: bool
    setup: Setup
    fingerprint: str | None

    @property
    def record(self) -> Path:
        return self.out / "cases" / self.method / f"{self.case.name}.json"

    @property
    def frames(self) -> Path:
        return self.out / "frames" / self.method / self.case.name

    def is_done(self) -> bool:
        """Whether the record is known to be that of this job. Raises InputError when it is of another request."""
        if self.setup.shared.force or self.fingerprint is None or not self.record.exists():
            return False
        from stages.evaluate.case_record import read_record

        if read_record(self.record).fingerprint != self.fingerprint:
            why = "its scene, weights, metric networks or program version were others"
            raise InputError(f"{self.record} holds another result", why, REPLACE)
        return not self.keep or self.frames.exists()


@dataclass(frozen=True)
class TwoViewRun:
    """The options of `evaluate --two-view`.

    methods: names, see methods.py.  out: folder of the report.  keep: store frames.
    processes: number of cases at a time.
    """

    methods: tuple[str, ...]
    out: Path
    keep: bool
    processes: int
    setup: Setup


def make_job(case: Case, method: str, run: TwoViewRun, session: Session, students: Students) -> Job:
    """A job with its fingerprint, of all that decides the figures. Raises InputError when a file is missing."""
    from stages.evaluate.frame_metrics import networks_at_hand
    from stages.evaluate.protocol import PROTOCOL
    from stages.files.transforms import read_transforms

    transforms = case.scene / "transforms.json"
    names = read_transforms(transforms)[1]
    files = {f"frame {index}": case.scene / names[index] for index in (*case.context, *case.targets)}
    files["transforms"] = transforms
    options: dict[str, Any] = {"method": method, "kind": case.kind, "protocol": PROTOCOL}
    options |= {"context": list(case.context), "target": list(case.targets)}
    if case.times is not None:
        options["times"] = list(case.times)
    options["networks"] = networks_at_hand(folder_of_networks())
    more, weights = decides(method, session, students)
    request = Request("evaluate --two-view", options | more, files, weights, session.hashes)
    return Job(case, method, run.out, run.keep, run.setup, request.fingerprint if request.is_hashed else None)


def run_jobs(jobs: Sequence[Job], processes: int) -> Iterator[tuple[Job, Outcome]]:
    """Run jobs here or in several processes, one case per process. Yields each job with its record or error."""
    cases = [list(group) for _, group in itertools.groupby(jobs, lambda job: job.case)]
    if processes == 1:
        for group in cases:
            yield from zip(group, run_case(group), strict=True)
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), _start_worker, (processes,)) as pool:
        pending = {pool.submit(_run_case_elsewhere, group): group for group in cases}
        cut_off = []
        for future in as_completed(pending):
            group = pending[future]
            if isinstance(future.exception(), BrokenProcessPool):
                cut_off.append(group)
            else:
                yield from zip(group, future.result(), strict=True)
    # A worker that is killed takes the others with it. Alone, each case shows whether it was the cause.
    for group in cut_off:
        yield from zip(group, _run_alone(group), strict=True)


def _run_alone(jobs: Sequence[Job]) -> list[Outcome]:
    try:
        with ProcessPoolExecutor(1, get_context("spawn"), _start_worker, (1,)) as pool:
            return pool.submit(_run_case_elsewhere, jobs).result()
    except BrokenProcessPool:
        why = "its process was killed, most often for want of memory"
        return [RunError("a case was cut off", why, "free some memory, or run it again with fewer --jobs")] * len(jobs)


def run_case(jobs: Sequence[Job]) -> list[Outcome]:
    """Run methods on one case, measure them together, publish the frames to keep and then the records.

    An error of a method or of the case is returned as its outcome, but missing weights and devices are raised.
    """
    try:
        outcomes = _make_and_measure(jobs)
    except (WeightsError, DeviceError):
        raise
    except Exception as error:
        return [error] * len(jobs)
    return [outcomes[job.method] for job in jobs]


def _make_and_measure(jobs: Sequence[Job]) -> dict[str, Outcome]:
    from stages.evaluate.cases import load_task
    from stages.evaluate.kept_frames import keep_frames, keep_truth
    from stages.evaluate.protocol import compare
    from stages.files.leftovers import remove
    from stages.files.publish import write_json

    # Run the methods.
    case, session = jobs[0].case, open_session(jobs[0].setup)
    session.open_renderer()
    task = load_task(case).to(session.home)
    outcomes: dict[str, Outcome] = {}
    results: dict[str, MethodResult] = {}
    facts: dict[str, dict[str, Any]] = {}
    for job in jobs:
        try:
            results[job.method], facts[job.method] = _make(job, task)
        except (WeightsError, DeviceError):
            raise
        except Exception as error:
            outcomes[job.method] = error
    # Measure and publish.
    records = compare(case, task, results, _instruments(session.home)) if results else {}
    if any(job.keep for job in jobs):
        keep_truth(jobs[0].frames.parents[1], case.name, task)
    for job in (job for job in jobs if job.method in results):
        if job.keep:
            keep_frames(job.frames.parents[1], job.method, case.name, results[job.method])
        else:
            remove(job.frames)  # Frames of an earlier run must not stand beside these figures.
        record = replace(records[job.method], **facts[job.method], fingerprint=job.fingerprint)
        write_json(job.record, record.to_json())
        outcomes[job.method] = record
    return outcomes


def _make(job: Job, task: Task) -> tuple[MethodResult, dict[str, Any]]:
    """Run the method of a job. Returns its result, and facts for its record besides the figures."""
    from stages.evaluate.protocol import make
    from stages.evaluate.unposed import make_unposed

    choice = read_method(job.method)
    ready = open_method(replace(choice, unposed=False), job.setup)
    if not choice.unposed:
        result = make(task, ready.method)
        return result, ready.facts(result.leap)
    result, cameras = make_unposed(task, ready.method)
    return result, {"cameras": cameras} | (ready.facts(result.leap) if cameras["found"] else {})


@functools.cache
def _instruments(device: torch.device) -> Instruments:
    from stages.evaluate.frame_metrics import open_instruments

    return open_instruments(folder_of_networks(), device)


def _start_worker(processes: int) -> None:
    """Give each of several processes its share of the cores."""
    import torch

    keep_freed_memory()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))


def _run_case_elsewhere(jobs: Sequence[Job]) -> list[Outcome]:
    """`run_case` for a worker process. Of an unexpected error only the text returns to the parent."""

    def portable(outcome: Outcome) -> Outcome:
        if isinstance(outcome, Exception) and not isinstance(outcome, StageError):
            why = f"{type(outcome).__name__}: {outcome}"
            return RunError("unexpected failure", why, "run again with -v and without --jobs")
        return outcome

    return [portable(outcome) for outcome in run_case(jobs)]
