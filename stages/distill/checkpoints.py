"""Checkpoints of a run: runs/NAME/checkpoints/PHASE/step-NNNNNN/. A checkpoint appears complete or not at all.

state.safetensors   network.*, average.*, and optimiser.*.{step, exp_avg, exp_avg_sq} of every trained parameter
state.json          step; identity: the settings that decide the weights; clips: the phase's shards; other facts of it
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.errors import InputError, WeightsError
from stages.files.leftovers import remove
from stages.files.publish import publish, write_json
from stages.files.weight_tensors import read_json_object, read_safetensors, require_keys, write_safetensors

CHECKPOINTS_KEPT = 2  # number of checkpoints that stay on disk per phase
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # AdamW's state of one parameter, as torch names it
HINT = "remove that checkpoint to go on from the one before it, or start over with --force"


@dataclass(frozen=True, eq=False)
class State:
    """All that a phase needs in order to go on after an interruption."""

    step: int
    facts: dict[str, Any]
    network: dict[str, Tensor]
    average: dict[str, Tensor]
    moments: dict[str, dict[str, Tensor]]


def checkpoints(run: Path, phase: str) -> list[Path]:
    """The checkpoints of a phase, oldest first."""
    folder = run / "checkpoints" / phase
    paths = folder.iterdir() if folder.is_dir() else ()
    complete = [path for path in paths if re.fullmatch(r"step-\d{6,}", path.name)]
    return sorted(complete, key=lambda path: int(path.name[5:]))


def save_state(run: Path, phase: str, state: State) -> None:
    """Publish a checkpoint, and remove all but the newest ones."""
    tensors = {f"network.{name}": value for name, value in state.network.items()}
    tensors |= {f"average.{name}": value for name, value in state.average.items()}
    for name, moments in state.moments.items():
        tensors |= {f"optimiser.{name}.{moment}": value for moment, value in moments.items()}
    with publish(run / "checkpoints" / phase / f"step-{state.step:06d}") as partial:
        partial.mkdir()
        write_safetensors(partial / "state.safetensors", tensors)
        write_json(partial / "state.json", {"step": state.step, **state.facts})
    for old in checkpoints(run, phase)[:-CHECKPOINTS_KEPT]:
        remove(old)


def read_facts(checkpoint: Path) -> dict[str, Any]:
    """The contents of a checkpoint's state.json. Raises WeightsError when the file is damaged."""
    facts = read_json_object(checkpoint / "state.json")
    if not isinstance(facts.get("step"), int) or not isinstance(facts.get("identity"), dict):
        raise WeightsError(f"damaged checkpoint {checkpoint}", "state.json has no step or no identity", HINT)
    return facts


def load_state(checkpoint: Path, own: Mapping[str, Tensor]) -> State:
    """Read a checkpoint. own: the trained parameters. Raises WeightsError that names the first key that differs."""
    facts = read_facts(checkpoint)
    tensors = read_safetensors(checkpoint / "state.safetensors")
    expected = {f"{part}.{name}": value for part in ("network", "average") for name, value in own.items()}
    if any(key.startswith("optimiser.") for key in tensors):
        scalar = torch.empty(())
        expected |= {
            f"optimiser.{name}.{m}": scalar if m == "step" else value for name, value in own.items() for m in MOMENTS
        }
    require_keys(expected, tensors, f"the checkpoint {checkpoint} is of another network", HINT)
    network, average = ({name: tensors[f"{part}.{name}"] for name in own} for part in ("network", "average"))
    stepped = [name for name in own if f"optimiser.{name}.step" in tensors]
    moments = {name: {m: tensors[f"optimiser.{name}.{m}"] for m in MOMENTS} for name in stepped}
    return State(int(facts["step"]), facts, network, average, moments)


def hash_identity(identity: Mapping[str, Any]) -> str:
    """A hash of the settings of a phase, 16 hexadecimal digits, for the identity of the phase after it."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def require_identity(checkpoint: Path, facts: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Raise InputError that names the settings that differ, when a checkpoint belongs to another run."""
    before = facts["identity"]
    changed = [key for key in {**before, **identity} if before.get(key) != identity.get(key)]
    differences = [f"{key} was {before.get(key)}, now {identity.get(key)}" for key in changed]
    if differences:
        why = "; ".join(differences)
        raise InputError(f"{checkpoint} is of another run", why, "choose another -o, or start over with --force")


def load_finished(
    run: Path, phase: str, steps: int, identity: Mapping[str, Any], own: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The averaged weights of a finished phase. own: its trained parameters.

    Raises InputError if the phase is unfinished or of other settings, WeightsError if its checkpoint is damaged.
    """
    checkpoint = next(reversed(checkpoints(run, phase)), None)
    facts = None if checkpoint is None else read_facts(checkpoint)
    if checkpoint is None or facts is None or facts["step"] < steps:
        why = f"it has done {0 if facts is None else facts['step']} of {steps} steps"
        raise InputError(f"the {phase} of {run} is not finished", why, f"train it first: --phase {phase}")
    require_identity(checkpoint, facts, identity)
    return load_state(checkpoint, own).average
