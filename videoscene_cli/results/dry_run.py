"""--dry-run: prints what a command would do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videoscene_cli.models.session import Session
from videoscene_cli.results.request import Request

if TYPE_CHECKING:
    from stages.prior.memory import Workload

SMALL = "small"  # the student whose memory is known
# States of a result.
UP_TO_DATE, TO_BE_MADE = "up to date", "to be made"
PARTLY = "to be made, but for the stages that are up to date"  # of a scene folder
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
    workload: what the command works on, unless that is two photographs: those are read here.
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
    work = None if workload is None else workload()
    if "first" in request.inputs:
        plan["sizes"], work = _sizes(request)
    if work is not None:
        plan["memory"] = _memory(work, request)
    lines = [f"{key}: {_text(value)}" for key, value in plan.items() if value]
    session.report.data("\n".join(lines), plan)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _sizes(request: Request) -> tuple[dict[str, str], Workload]:
    """The size of each photograph after rotation, the size of both as used, and what the command works on."""
    from stages.files.camera_paths import read_camera_path
    from stages.files.images import fit_image, read_image
    from stages.prior.memory import Workload

    first, second = (read_image(request.inputs[role]) for role in ("first", "second"))
    used = fit_image(first, request.options["size"])
    images = {"first": first, "second": second, "used": used}
    sizes = {name: f"{image.shape[-1]}x{image.shape[-2]}" for name, image in images.items()}
    path = request.inputs.get("path")
    frames = request.options.get("frames", 0) if path is None else len(read_camera_path(path))
    photographs = first[0].numel() + second[0].numel()
    return sizes, Workload(photographs, used[0].numel(), frames, repairs=request.options.get("student") == SMALL)


def _memory(work: Workload, request: Request) -> str:
    from stages.prior.memory import peak_memory

    other = request.options.get("student", SMALL) != SMALL
    return f"about {peak_memory(work) / 1e9:.1f} GB on a CPU" + (", without the student" if other else "")
