"""Make a result unless it is there: the one order of steps that every command follows."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stages.errors import InputError
from stages.files.documents import read_json
from stages.files.file_hashes import FileHashes
from stages.files.publish import check_writable, require_replaceable
from videoscene_cli.models.session import Session
from videoscene_cli.results.dry_run import show_plan
from videoscene_cli.results.manifest import Record, read_manifest
from videoscene_cli.results.request import Request

REPLACE = "choose another -o, or replace it with --force"


@dataclass(frozen=True)
class Result:
    """Where a result goes.

    path: what is printed when the result is done.  manifest: its last file, which marks it as complete.
    outputs: its files or folders, for `--dry-run`.
    guarded: the files or folders that only --force replaces when they hold something else.
    """

    path: Path
    manifest: Path
    outputs: tuple[Path, ...]
    guarded: tuple[Path, ...]

    @classmethod
    def stage(cls, scene: Path, name: str, *others: Path) -> Result:
        """A stage of a scene folder, which is a folder with a manifest of its own. others: more outputs."""
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
) -> bool | None:
    """Make a result unless it is up to date, and report it. With --dry-run, print the plan instead.

    make: does the work and publishes the result, the manifest last.
    check: raises InputError when the work would replace something else that only --force may replace.
    announce: print the result when it is done.  follow: a result of another request of the same command is replaced.
    Returns whether the result was up to date, or None with --dry-run. Raises InputError when something else is in its
    place.
    """
    force, dry_run = session.shared.force, session.shared.dry_run
    states = [is_current(request, result.manifest, place, force, not dry_run, follow) for place in result.guarded]
    current = all(states)
    if check is not None and not current and not force:
        check()
    if dry_run:
        show_plan(session, request, current, result.outputs)
        return None
    record = Record()
    if not current:
        check_writable(result.manifest)
        with record.stage("start"):
            session.seed()
            record.device = str(session.device)
        make(record)
    if announce:
        manifest, seconds = str(result.manifest), record.seconds
        session.report.done(str(result.path), current, command=request.command, manifest=manifest, seconds=seconds)
    return current


def is_current(
    request: Request, manifest: Path, result: Path, force: bool, touch: bool = True, follow: bool = False
) -> bool:
    """Whether `result` holds this very request, or has to be made. touch: update the manifest's time then, for Make.

    Raises InputError, naming --force, when something else is there: a result of another request, a changed file, or a
    file of someone else. With `force` it raises only for what publishing would refuse to replace after the work.
    follow: a result of another request of the same command is to be replaced, and is no error.
    """
    if force:
        require_replaceable(result, is_folder=manifest.parent == result)
    if force or not (result.exists() or manifest.exists()) or _left_by_a_killed_run(result, manifest, request.hashes):
        return False
    if not manifest.exists():
        raise InputError(f"{result} already exists", "it has no manifest, so this command did not make it", REPLACE)
    found = read_manifest(manifest, request.hashes)
    if found.get("fingerprint") == request.fingerprint:
        if touch:
            os.utime(manifest)
        return True
    if follow and found["command"] == request.command:
        return False
    why = "; ".join(request.differences(found)) or "its fingerprint differs"
    raise InputError(f"{result} holds another result", why, REPLACE)


def _left_by_a_killed_run(result: Path, manifest: Path, hashes: FileHashes) -> bool:
    """Whether a run was killed between publishing `result` and its manifest: the hidden draft then names this very file."""
    for draft in manifest.parent.glob(f".{glob.escape(manifest.name)}.partial-*"):
        if draft.stat().st_size and result.is_file():
            outputs = {output["path"]: output["sha256"] for output in read_json(draft)["outputs"]}
            if outputs.get(result.name) == hashes.of(result):
                return True
    return False
