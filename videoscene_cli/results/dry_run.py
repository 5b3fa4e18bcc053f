"""--dry-run: prints what a command would do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.files.publish import check_writable
from videoscene_cli.models.session import Session
from videoscene_cli.results.request import Request

if TYPE_CHECKING:
    from stages.prior.memory import Workload

# States of a result.
UP_TO_DATE, TO_BE_MADE = "up to date", "to be made"
PARTLY = "to be made, except for the stages that are up to date"  # only for scene folders
NOT_KNOWN = "up to date, unless large files that are not hashed yet have changed"


def show_plan(
    session: Session,
    request: Request,
    state: str,
    outputs: Sequence[Path],
    workload: Callable[[], Workload] | None = None,
) -> None:
    """Print the plan on stdout, one `key: value` per line, or with --json as one object.

    Reads the inputs, writes nothing. Raises InputError for inputs that the run would refuse.

    state: of the result: UP_TO_DATE, TO_BE_MADE, PARTLY or NOT_KNOWN.
    workload: what the command works on. It is called when the inputs are known to be readable.
    """
    request.check_inputs()
    plan: dict[str, Any] = {
        "command": request.command,
        "state": state,
        "inputs": {role: str(path) for role, path in request.inputs.items()},
        "options": dict(request.options),
        "weights": {part: dict(weights) for part, weights in request.weights.items()},
        "device": str(session.device),
        "outputs": [str(path) for path in outputs],
    }
    for output in outputs if state in (TO_BE_MADE, PARTLY) and outputs != [Path("-")] else ():
        check_writable(output)
    if workload is not None:
        work = workload()
        plan["sizes"] = {name: f"{w}x{h}" for name, (h, w) in work.sizes.items()}
        plan["memory"] = _memory(work, request)
    lines = [f"{key}: {_text(value)}" for key, value in plan.items() if value]
    session.report.data("\n".join(lines), plan)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _memory(work: Workload, request: Request) -> str:
    from stages.prior.memory import peak_memory

    uncounted = "student" in request.options and not work.repairs
    return f"about {peak_memory(work) / 1e9:.1f} GB on a CPU" + (", without the student" if uncounted else "")
