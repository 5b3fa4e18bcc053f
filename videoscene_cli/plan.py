"""--dry-run: what a command would do, from what it would read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videoscene_cli.artifact import Request
from videoscene_cli.engine import Engine


def show_plan(engine: Engine, request: Request, current: bool, outputs: Sequence[Path]) -> None:
    """Print the plan on stdout, one `key: value` a line, with --json as one object. Reads the inputs, writes nothing."""
    plan: dict[str, Any] = {
        "command": request.command,
        "state": "up to date" if current else "to be made",
        "inputs": {role: str(path) for role, path in request.inputs.items()},
        "sizes": _sizes(request),
        "options": dict(request.options),
        "weights": {part: dict(weights) for part, weights in request.weights.items()},
        "device": str(engine.device),
        "outputs": [str(path) for path in outputs],
    }
    lines = [f"{key}: {_text(value)}" for key, value in plan.items() if value]
    engine.report.data("\n".join(lines), plan)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _sizes(request: Request) -> dict[str, str]:
    """Width x height of each photograph after rotation, and of both after resize and crop."""
    if "first" not in request.inputs:
        return {}
    from stages.files.images import fit, read_image

    first, second = (read_image(request.inputs[role]) for role in ("first", "second"))
    used, _ = fit(first, None, request.options["size"])
    return {name: f"{image.shape[-1]}x{image.shape[-2]}" for name, image in (("first", first), ("second", second), ("used", used))}
