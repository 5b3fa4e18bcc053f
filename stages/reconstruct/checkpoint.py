"""All that an optimisation step reads and writes, so that a run can stop after any step and go on to the very same result."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from stages.errors import InputError
from stages.files.os_errors import writing
from stages.files.publish import publish
from stages.scene import Gaussians

GROUPS = ("means", "quats", "log_scales", "logits", "sh_0", "sh_rest")  # one row a Gaussian each
KINDS, STATISTICS = ("parameters", "first", "second"), ("distances", "moves", "losses", "stress")


@dataclass
class State:
    """Parameters, Adam's moments and statistics after `step` steps.

    parameters: means [G, 3], quats [G, 4], log_scales [G, 3], logits (of opacity) [G], sh_0 [G, 1, 3], sh_rest [G, K - 1, 3], and
    poses [N, 6]: rotation vector (rad) and shift (scene depths) of each target's camera in its own axes.
    distances: [G], to the nearest camera, scene units.  moves: [G, 3, 3], the unit steps of a position as columns (see
    position_steps.py); its Adam works in these units.  losses: [N], when last drawn, NaN before.  stress: [G], gradients of position
    added up since the last split.
    """

    step: int
    parameters: dict[str, Tensor]
    first: dict[str, Tensor] = field(default_factory=dict)
    second: dict[str, Tensor] = field(default_factory=dict)
    distances: Tensor = field(default_factory=lambda: torch.empty(0))
    moves: Tensor = field(default_factory=lambda: torch.empty(0))
    losses: Tensor = field(default_factory=lambda: torch.empty(0))
    stress: Tensor = field(default_factory=lambda: torch.empty(0))

    def gaussians(self) -> Gaussians:
        """The scene as it stands; differentiable in the parameters."""
        p = self.parameters
        opacities, sh = p["logits"].sigmoid(), torch.cat([p["sh_0"], p["sh_rest"]], 1)
        return Gaussians(p["means"], p["log_scales"].exp(), p["quats"], opacities, sh)

    def rows(self, kept: Tensor) -> None:
        """Keep the Gaussians `kept` [.], a mask or indices, with their moments."""
        for tensors in (self.parameters, self.first, self.second):
            tensors |= {name: tensors[name][kept] for name in GROUPS}
        self.distances, self.moves, self.stress = self.distances[kept], self.moves[kept], self.stress[kept]


def new_state(gaussians: Gaussians, distances: Tensor, moves: Tensor, targets: int) -> State:
    """The state before the first step. distances: [G], scene units.  moves: [G, 3, 3].  targets: how many images there are."""
    g = gaussians
    limit = 1e-4  # keeps logits of opaque Gaussians where a gradient still moves them
    parameters = {
        "means": g.means.clone(),
        "quats": torch.nn.functional.normalize(g.quats, dim=-1),
        "log_scales": g.scales.clamp_min(1e-12).log(),
        "logits": g.opacities.clamp(limit, 1 - limit).logit(),
        "sh_0": g.sh[:, :1].clone(),
        "sh_rest": g.sh[:, 1:].clone(),
        "poses": g.means.new_zeros(targets, 6),
    }
    first, second = ({name: torch.zeros_like(value) for name, value in parameters.items()} for _ in range(2))
    losses = g.means.new_full((targets,), float("nan"))
    return State(0, parameters, first, second, distances, moves, losses, torch.zeros_like(distances))


def save_checkpoint(path: Path, state: State, identity: str) -> None:
    """Publish a state as safetensors. identity: of the run; another run does not take it up. RunError when the disk is full."""
    tensors = {f"{kind}.{name}": value for kind in KINDS for name, value in getattr(state, kind).items()}
    tensors |= {name: getattr(state, name) for name in STATISTICS}
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with publish(path) as partial, writing(path):
        save_file(stored, partial, {"identity": identity, "step": str(state.step)})


def load_checkpoint(path: Path, identity: str, device: torch.device) -> State | None:
    """The state that a run of this identity left, None when there is none. Raises InputError when the file is damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata() or {}
            if facts.get("identity") != identity:
                return None
            step = int(facts["step"])
            tensors = {name: file.get_tensor(name).to(device) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"cannot go on from {path}", f"it is damaged: {str(error).splitlines()[0]}", "remove it and run again") from error
    parts: dict[str, dict[str, Tensor]] = {kind: {} for kind in KINDS}
    for name, tensor in tensors.items():
        kind, _, of = name.partition(".")
        if kind in parts:
            parts[kind][of] = tensor
    return State(step, parts["parameters"], parts["first"], parts["second"], *(tensors[name] for name in STATISTICS))
