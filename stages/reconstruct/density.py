"""Control of the number of Gaussians: transparent ones are removed, those with large gradients are split."""

import math

import torch

from stages.geometry import rotations
from stages.reconstruct.checkpoint import GROUPS, State

PRUNE_BELOW = 0.005  # Gaussians whose opacity is below this are removed (Kerbl et al. 2023)
SHRINK = 1.6  # the two parts of a split Gaussian have its scales divided by this (Kerbl et al. 2023)
SPLIT_SHARE = 0.02  # at most this share of all Gaussians is split at a time


@torch.no_grad()
def adapt_density(state: State, budget: int) -> None:
    """Remove transparent Gaussians, then split those with the largest position gradients since the last call.

    budget: the largest number of Gaussians afterwards.
    """
    state.select(state.parameters["logits"].sigmoid() >= PRUNE_BELOW)
    count = len(state.distances)
    splits = min(budget - count, int(SPLIT_SHARE * count))
    if splits > 0:
        _split(state, torch.argsort(state.position_gradients, descending=True, stable=True)[:splits])
    state.position_gradients = torch.zeros_like(state.distances)


def _split(state: State, which: torch.Tensor) -> None:
    """Replace chosen Gaussians by two smaller ones each, half a standard deviation away along the longest axis.

    3DGS draws the two positions at random. These are fixed, so that a resumed run reaches the same result.
    """
    p = state.parameters
    length, axis = p["log_scales"][which].max(1)
    direction = rotations(p["quats"][which])[torch.arange(len(which), device=which.device), :, axis]
    shift = 0.5 * length.exp()[:, None] * direction
    # The first part takes the place of the Gaussian.
    p["log_scales"][which] -= math.log(SHRINK)
    parts = {name: p[name][which] for name in GROUPS}
    p["means"][which] -= shift
    parts["means"] = parts["means"] + shift
    # The second part is appended. Adam's moments of both start at zero.
    for name in GROUPS:
        p[name] = torch.cat([p[name], parts[name]])
        for moments in (state.first, state.second):
            moments[name][which] = 0
            moments[name] = torch.cat([moments[name], torch.zeros_like(parts[name])])
    state.distances = torch.cat([state.distances, state.distances[which]])
    state.unit_steps = torch.cat([state.unit_steps, state.unit_steps[which]])
    state.smallest = torch.cat([state.smallest, state.smallest[which]])
