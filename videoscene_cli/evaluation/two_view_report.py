"""The two-view protocol over folders of scenes: find the cases, run the jobs that are left, print and summarise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.errors import InputError, RunError
from videoscene_cli.evaluation.jobs import Job, TwoViewRun, make_job, run_jobs
from videoscene_cli.evaluation.methods import Students, check_method
from videoscene_cli.evaluation.unpack_sets import unpack_scenes
from videoscene_cli.models.metric_networks import folder_of_networks
from videoscene_cli.models.session import Session
from videoscene_cli.results.dry_run import NOT_KNOWN
from videoscene_cli.results.manifest import Record
from videoscene_cli.results.request import Request

if TYPE_CHECKING:
    from stages.evaluate.case_record import CaseRecord


def evaluate_two_view(given: Sequence[Path], run: TwoViewRun, session: Session) -> None:
    """Run methods on all cases of all scenes. Prints a line per case, the means, and the path of metrics.json.

    given: folders of scenes, and the index of cases of published sets (videoscene_cli/evaluation/unpack_sets.py).

    A scene or a case that fails is reported and left out. At the end RunError counts the failures.
    """
    from stages.evaluate.case_record import read_record

    # Find the jobs, and those that are done already.
    for method in run.methods:
        check_method(method, run.setup)
    scenes, unread = unpack_scenes(given, run.out, session)
    if not scenes:
        return
    jobs, errors = _plan(scenes, run, session)
    errors = unread | errors
    done, left = list[Job](), list[Job]()
    for job in jobs:
        (done if job.is_done() else left).append(job)
    if session.shared.dry_run:
        plan = {"methods": list(run.methods), "cases": len(jobs), "done": len(done), "out": str(run.out)}
        unknown = sum(job.fingerprint is None and job.record.exists() for job in left)
        return session.report.plan(plan | ({NOT_KNOWN: unknown} if unknown else {}))
    # Run the others.
    results = [read_record(job.record) for job in done]
    for result in results:
        _print(result.case, result.to_json(), session)
    record = Record(device=str(session.device))
    with record.stage("cases"), session.report.progress("cases") as advance:
        for job, outcome in run_jobs(left, run.processes):
            if isinstance(outcome, Exception):
                session.report.error(outcome)
                errors[f"{job.case.name} {job.method}"] = outcome
            else:
                results.append(outcome)
                _print(outcome.case, outcome.to_json(), session)
            advance(len(results), len(jobs))
    # Summarise.
    _write(results, run, errors, session)
    if errors:
        why = f"{len(errors)} failed, the messages are above: {', '.join(errors)}"
        raise RunError("not every case was measured", why, "repair those and run the same command again")
    _write_manifest(jobs, run.out, record)
    session.report.done(str(run.out / "metrics.json"), not left, command="evaluate")


def _plan(folders: Sequence[Path], run: TwoViewRun, session: Session) -> tuple[list[Job], dict[str, Exception]]:
    """The jobs of all scenes, and the errors of scenes or cases that cannot be read.

    Raises InputError if there are no jobs.
    """
    from stages.evaluate.cases import find_scenes, read_cases

    students = Students(run.setup, session)
    jobs: list[Job] = []
    errors: dict[str, Exception] = {}
    for scene in find_scenes(list(folders)):
        try:
            cases = read_cases(scene)
        except InputError as error:
            errors[scene.name] = error
            continue
        for case in cases:
            try:
                jobs += [make_job(case, method, run, session, students) for method in run.methods]
            except InputError as error:
                errors[case.name] = error
    if not jobs:
        raise next(iter(errors.values()))
    for failure in errors.values():
        session.report.error(failure)
    records = [job.record for job in jobs]
    if len(set(records)) < len(records):
        twice = next(record for record in records if records.count(record) > 1)
        raise InputError("two cases of one name", f"{twice.stem} comes twice", "give scene folders of different names")
    return jobs, errors


def _print(name: str, result: Mapping[str, Any], session: Session) -> None:
    """Print one case, or the means of one kind of case, on one line."""
    figures = "  ".join(f"{metric} {_number(metric, value)}" for metric, value in result["mean"].items())
    shown = {key: value for key, value in result.items() if key != "i3d"}
    session.report.data(f"{name:42s} {result['kind']:7s} {result['method']:12s} {figures}", shown)


def _number(metric: str, value: float | str | None) -> str:
    if not isinstance(value, float):
        return "  inf" if value is None else value
    return f"{value:5.2f}" if "psnr" in metric else f"{value:.1f}" if metric in ("fvd", "kvd") else f"{value:.4f}"


def _write(results: list[CaseRecord], run: TwoViewRun, errors: Mapping[str, Exception], session: Session) -> None:
    """Print the means, and publish metrics.json: protocol, summary, cases, failures."""
    from stages.evaluate import published_sets, unposed
    from stages.evaluate.frame_metrics import networks_at_hand
    from stages.evaluate.protocol import PROTOCOL
    from stages.evaluate.summary import summarise
    from stages.files.publish import write_json
    from stages.metrics import fvd

    results = sorted(results, key=lambda result: (run.methods.index(result.method), result.case))
    summary = {method: summarise([result for result in results if result.method == method]) for method in run.methods}
    for method, kinds in summary.items():
        for kind, means in kinds.items():
            context = {f"psnr at the inputs, {name}": value for name, value in means["context psnr"].items()}
            shown = means | {"method": method, "kind": kind, "mean": means["mean"] | context}
            _print(f"mean of {means['cases']} cases", shown, session)
    cost = _cost_of_no_cameras(results, run.methods, session)
    sets = {"sets": published_sets.PROTOCOL} if (run.out / "scenes").is_dir() else {}
    protocol = sets | PROTOCOL | fvd.PROTOCOL | {"networks": networks_at_hand(folder_of_networks())}
    protocol |= {"unposed": unposed.PROTOCOL} if cost else {}
    cases = [result.figures() for result in results]
    failed = {name: str(error) for name, error in errors.items()}
    document = {"protocol": protocol, "summary": summary, "cases": cases, "failed": failed}
    write_json(run.out / "metrics.json", document | ({"unposed": cost} if cost else {}))


def _cost_of_no_cameras(results: list[CaseRecord], methods: Sequence[str], session: Session) -> dict[str, Any]:
    """For each method that also ran without cameras: both means, over all cases and over those with cameras."""
    from stages.evaluate.unposed import against_posed

    cost = {}
    for method in (name.removesuffix("-unposed") for name in methods if name.endswith("-unposed")):
        with_cameras = [result for result in results if result.method == method]
        without = [result for result in results if result.method == f"{method}-unposed"]
        cost[method] = against_posed(without, with_cameras)
        for kind, record in cost[method].items():
            both = {name: value["psnr"] for name, value in record["both"].items() if value}
            figures = "  ".join(f"{name} {_number('psnr', psnr)}" for name, psnr in both.items())
            counts = f"cameras found in {record['found']} of {record['cases']}"
            text = f"{counts:42s} {kind:7s} {method:12s} psnr there: {figures}"
            session.report.data(text, {"method": method, "kind": kind, **record})
    return cost


def _write_manifest(jobs: Sequence[Job], out: Path, record: Record) -> None:
    """Write the manifest, which marks that all cases are measured."""
    from stages.files.publish import publish

    cases = {f"{job.method} {job.case.name}": job.fingerprint for job in jobs}
    request = Request("evaluate --two-view", {"cases": cases}, {})
    with publish(out / "manifest.json") as partial:
        record.write_manifest(partial, request, {"metrics.json": out / "metrics.json"})
