"""--dry-run: prints what a command would do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videoscene_cli.models.session import Session
from videoscene_cli.results.request import Request


def show_plan(session: Session, request: Request, current: bool | None, outputs: Sequence[Path]) -> None:
    """Print the plan on stdout, one `key: value` per line, or with --json as one object.

    Reads the inputs, writes nothing.

    current: whether the result is up to date; None for a scene folder, where only some stages may be up to date.
    """
    partly = "to be made, but for the stages that are up to date"
    state = {True: "up to date", False: "to be made", None: partly}[current]
    plan: dict[str, Any] = {
        "command": request.command,
        "state": state,
        "inputs": {role: str(path) for role, path in request.inputs.items()},
        "options": dict(request.options),
        "weights": {part: dict(weights) for part, weights in request.weights.items()},
        "device": str(session.device),
        "outputs": [str(path) for path in outputs],
    }
    if "first" in request.inputs:
        plan |= _sizes(request)
    lines = [f"{key}: {_text(value)}" for key, value in plan.items() if value]
    session.report.data("\n".join(lines), plan)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _sizes(request: Request) -> dict[str, Any]:
    """The size of each photograph after rotation, the size of both as used, and the memory needed for it."""
    from stages.files.images import fit_image, read_image
    from stages.prior.memory import peak_memory

    first, second = (read_image(request.inputs[role]) for role in ("first", "second"))
    used = fit_image(first, request.options["size"])
    pixels = used.shape[-1] * used.shape[-2]
    memory = peak_memory(pixels, request.options.get("frames", 0))
    images = {"first": first, "second": second, "used": used}
    sizes = {name: f"{image.shape[-1]}x{image.shape[-2]}" for name, image in images.items()}
    return {"sizes": sizes, "memory": f"about {memory / 1e9:.1f} GB with the small prior on a CPU"}
