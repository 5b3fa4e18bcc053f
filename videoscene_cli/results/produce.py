"""Make a result unless it is up to date.

`prior`, `render`, `generate`, `reconstruct` and the evaluation of finished scenes follow the steps of `produce`.
`distill` uses only `is_current`.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stages.errors import InputError
from stages.files.documents import read_json
from stages.files.file_hashes import FileHashes
from stages.files.leftovers import hidden_stem, recover
from stages.files.publish import check_writable, require_replaceable
from videoscene_cli.models.session import Session
from videoscene_cli.results.dry_run import NOT_KNOWN, TO_BE_MADE, UP_TO_DATE, show_plan
from videoscene_cli.results.manifest import Record, read_manifest
from videoscene_cli.results.request import Request

if TYPE_CHECKING:
    from stages.prior.memory import Workload

REPLACE = "choose another -o, or replace it with --force"


@dataclass(frozen=True)
class Result:
    """The files of a result.

    path: the path that is printed when the result is done.  manifest: the last file, which marks it as complete.
    outputs: its files or folders, for `--dry-run`.
    guarded: those of its files or folders that, if they hold something else, are replaced only with --force.
    """

    path: Path
    manifest: Path
    outputs: tuple[Path, ...]
    guarded: tuple[Path, ...]

    @classmethod
    def stage(cls, scene: Path, name: str, *others: Path) -> Result:
        """A stage of a scene folder: a folder with its own manifest. others: further outputs."""
        return cls(scene, scene / name / "manifest.json", (*others, scene / name), (scene / name,))


def produce(
    session: Session,
    request: Request,
    result: Result,
    make: Callable[[Record], None],
    *,
    check: Callable[[], None] | None = None,
    announce: bool = True,
    follow: bool = False,
    workload: Callable[[], Workload] | None = None,
) -> bool | None:
    """Make a result unless it is up to date, and report it. With --dry-run only print the plan.

    make: does the work and publishes the result, the manifest last.
    check: raises InputError when the work would replace something else that only --force may replace.
    workload: what the work is, for the plan.
    announce: print the result at the end.  follow: replace a result of another request of the same command.
    Returns whether the result was up to date, or None with --dry-run. Raises InputError when its path
    holds something else.
    """
    # Is the result up to date, and may it be replaced?
    force, dry_run = session.shared.force, session.shared.dry_run
    states = [is_current(request, result.manifest, path, force, not dry_run, follow) for path in result.guarded]
    current = all(states)
    if check is not None and not current and not force:
        check()
    if dry_run:
        unknown = not (current or force or request.is_hashed) and result.manifest.exists()
        state = UP_TO_DATE if current else NOT_KNOWN if unknown else TO_BE_MADE
        show_plan(session, request, state, result.outputs, workload)
        return None
    # Make it.
    record = Record()
    if current:  # remove what a killed process may have left beside the result
        for path in result.outputs:
            recover(path)
    else:
        check_writable(result.manifest)
        with record.stage("start"):
            record.device = str(session.device)
            session.start()
        make(record)
    # Report it.
    if announce:
        manifest, seconds = str(result.manifest), record.seconds
        session.report.done(str(result.path), current, command=request.command, manifest=manifest, seconds=seconds)
    return current


def is_current(
    request: Request, manifest: Path, result: Path, force: bool, touch: bool = True, follow: bool = False
) -> bool:
    """Whether `result` is known to be the result of this request, so that nothing is to be made.

    Raises InputError, which names --force, when something else has its path: a result of another request, a changed
    file, or a foreign file. With `force` it raises only if publishing would refuse to replace it, before any work.
    touch: update the manifest's time, for Make, if the result is current.
    follow: a result of another request of the same command is no error; it is to be replaced.
    """
    if force:
        require_replaceable(result, is_folder=manifest.parent == result)
    if force or not (result.exists() or manifest.exists()) or _left_by_a_killed_run(result, manifest, request.hashes):
        return False
    if not manifest.exists():
        raise InputError(f"{result} already exists", "it has no manifest, so this command did not make it", REPLACE)
    existing = read_manifest(manifest, request.hashes)
    if existing.get("fingerprint") == request.fingerprint:
        if touch:
            os.utime(manifest)
        return True
    if follow and existing["command"] == request.command:
        return False
    differences = request.differences(existing)
    if not differences and not request.is_hashed:
        return False
    why = "; ".join(differences) or "its fingerprint differs"
    raise InputError(f"{result} holds another result", why, REPLACE)


def _left_by_a_killed_run(result: Path, manifest: Path, hashes: FileHashes) -> bool:
    """Whether a run was killed after it published `result` and before its manifest.

    The manifest's draft then names the result.
    """
    for draft in manifest.parent.glob(f"{glob.escape(hidden_stem(manifest.name))}.partial-*"):
        if draft.stat().st_size and result.is_file():
            outputs = {output["path"]: output["sha256"] for output in read_json(draft)["outputs"]}
            if outputs.get(result.name) == hashes.of(result):
                return True
    return False
