"""--dry-run: prints what a command would do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videoscene_cli.models.session import Session
from videoscene_cli.results.request import Request
from videoscene_cli.terminal.options import PHOTO

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
    """The size of each photograph after rotation, of the result and of the networks' images, and the work."""
    from stages.files.camera_paths import read_camera_path
    from stages.files.images import read_image
    from stages.prior.memory import Workload
    from stages.sizes import network_size, result_size

    shapes = [read_image(request.inputs[role]).shape for role in ("first", "second")]
    photographs = [(shape[-2], shape[-1]) for shape in shapes]
    side = request.options["size"]
    result = result_size(photographs[0], None if side == PHOTO else side)
    view = network_size(result)
    named = dict(zip(("first", "second", "result", "networks"), (*photographs, result, view), strict=True))
    path = request.inputs.get("path")
    frames = request.options.get("frames", 0) if path is None else len(read_camera_path(path))
    work = Workload(
        sum(math.prod(size) for size in photographs), math.prod(view), frames, math.prod(result),
        repairs=request.options.get("student") == SMALL,
    )  # fmt: skip
    return {name: f"{w}x{h}" for name, (h, w) in named.items()}, work


def _memory(work: Workload, request: Request) -> str:
    from stages.prior.memory import peak_memory

    other = request.options.get("student", SMALL) != SMALL
    return f"about {peak_memory(work) / 1e9:.1f} GB on a CPU" + (", without the student" if other else "")
