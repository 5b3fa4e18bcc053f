"""The complete state of an optimisation, so that a run can stop after any step and later reach the same result."""

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

GROUPS = ("means", "quats", "log_scales", "logits", "sh_0", "sh_rest")  # the parameters with one row per Gaussian
KINDS = ("parameters", "first", "second")  # fields of State that are dicts of tensors
STATISTICS = ("distances", "unit_steps", "smallest", "losses", "position_gradients")  # fields of State that are tensors


@dataclass
class State:
    """Parameters, Adam's moments and statistics after `step` steps.

    parameters: means [G, 3], quats [G, 4], log_scales [G, 3], logits (of opacity) [G], sh_0 [G, 1, 3],
    sh_rest [G, K - 1, 3], and poses [N, 6]: rotation vector (rad) and shift (scene depths) of each target's camera in
    its own axes.
    first, second: Adam's moments of each parameter.
    distances: [G], from each Gaussian to the nearest camera, scene units.
    unit_steps: [G, 3, 3], columns; Adam moves positions in these units (position_steps.py).
    smallest: [G], the smallest scale that each Gaussian may have, scene units (whole_surfaces.py).
    These three are computed once, from the first positions, and do not follow Gaussians that move.
    losses: [N], of each target when it was last rendered, NaN before.
    position_gradients: [G], norm of the loss's gradient with respect to position, times distance, summed since
        `adapt_density` last ran.
    """

    step: int
    parameters: dict[str, Tensor]
    first: dict[str, Tensor] = field(default_factory=dict)
    second: dict[str, Tensor] = field(default_factory=dict)
    distances: Tensor = field(default_factory=lambda: torch.empty(0))
    unit_steps: Tensor = field(default_factory=lambda: torch.empty(0))
    smallest: Tensor = field(default_factory=lambda: torch.empty(0))
    losses: Tensor = field(default_factory=lambda: torch.empty(0))
    position_gradients: Tensor = field(default_factory=lambda: torch.empty(0))

    def gaussians(self) -> Gaussians:
        """The scene that the parameters describe. It is differentiable in them."""
        p = self.parameters
        opacities, sh = p["logits"].sigmoid(), torch.cat([p["sh_0"], p["sh_rest"]], 1)
        return Gaussians(p["means"], p["log_scales"].exp(), p["quats"], opacities, sh)

    def enlarge(self) -> None:
        """Give Gaussians that are too small their smallest scale."""
        log_scales = self.parameters["log_scales"]
        log_scales.copy_(log_scales.maximum(self.smallest.clamp_min(1e-12).log()[:, None]))

    def select(self, which: Tensor) -> None:
        """Keep only some Gaussians, with their moments. which: boolean [G] or indices."""
        for tensors in (self.parameters, self.first, self.second):
            tensors |= {name: tensors[name][which] for name in GROUPS}
        self.distances, self.unit_steps = self.distances[which], self.unit_steps[which]
        self.smallest = self.smallest[which]
        self.position_gradients = self.position_gradients[which]


def new_state(gaussians: Gaussians, distances: Tensor, unit_steps: Tensor, smallest: Tensor, targets: int) -> State:
    """The state before the first step. Gaussians that are too small get their smallest scale.

    distances: [G], scene units.  unit_steps: [G, 3, 3].  smallest: [G], scene units.  targets: their number.
    """
    g = gaussians
    limit = 1e-4  # opacities keep this distance from 0 and 1, where the gradient of the logit vanishes
    parameters = {
        "means": g.means.clone(),
        "quats": torch.nn.functional.normalize(g.quats, dim=-1),
        "log_scales": g.scales.maximum(smallest[:, None]).clamp_min(1e-12).log(),
        "logits": g.opacities.clamp(limit, 1 - limit).logit(),
        "sh_0": g.sh[:, :1].clone(),
        "sh_rest": g.sh[:, 1:].clone(),
        "poses": g.means.new_zeros(targets, 6),
    }
    first, second = ({name: torch.zeros_like(value) for name, value in parameters.items()} for _ in range(2))
    losses = g.means.new_full((targets,), float("nan"))
    statistics = (distances, unit_steps, smallest, losses, torch.zeros_like(distances))
    return State(0, parameters, first, second, *statistics)


def save_checkpoint(path: Path, state: State, identity: str) -> None:
    """Publish a state as safetensors. Raises RunError when the disk is full.

    identity: a text that identifies the run. Only a run of the same identity loads the state.
    """
    tensors = {f"{kind}.{name}": value for kind in KINDS for name, value in getattr(state, kind).items()}
    tensors |= {name: getattr(state, name) for name in STATISTICS}
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with publish(path) as partial, writing(path):
        save_file(stored, partial, {"identity": identity, "step": str(state.step)})


def load_checkpoint(path: Path, identity: str, device: torch.device) -> State | None:
    """The state that a run of this identity saved, or None. Raises InputError if the file is damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata() or {}
            if facts.get("identity") != identity:
                return None
            step = int(facts["step"])
            # SIM118 takes the file for a mapping, which it is not.
            tensors = {name: file.get_tensor(name).to(device) for name in file.keys()}  # noqa: SIM118
        statistics = [tensors[name] for name in STATISTICS]
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        why = f"it is damaged: {str(error).splitlines()[0]}"
        raise InputError(f"cannot go on from {path}", why, "remove it and run again") from error
    parts: dict[str, dict[str, Tensor]] = {kind: {} for kind in KINDS}
    for key, tensor in tensors.items():
        kind, _, name = key.partition(".")
        if kind in parts:
            parts[kind][name] = tensor
    return State(step, parts["parameters"], parts["first"], parts["second"], *statistics)
