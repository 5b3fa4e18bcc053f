"""Where Gaussians go and where they come from: the transparent are removed, those under stress are split, the number is bounded."""

from __future__ import annotations

import math

import torch

from stages.geometry import rotations
from stages.reconstruct.checkpoint import GROUPS, State

PRUNE_BELOW = 0.005  # opacity (Kerbl et al. 2023)
SHRINK = 1.6  # the parts of a split Gaussian are smaller by this (Kerbl et al. 2023)
SPLIT_SHARE = 0.02  # of all Gaussians, at most, at a time


@torch.no_grad()
def adapt_density(state: State, budget: int) -> None:
    """Remove the transparent, then split those whose position was pulled hardest since the last time, while the budget has room.

    A split puts the parts half a standard deviation to either side along the longest axis (no random numbers, so that a resumed run
    does the same).
    """
    state.rows(state.parameters["logits"].sigmoid() >= PRUNE_BELOW)
    count = len(state.distances)
    wanted = min(budget - count, int(SPLIT_SHARE * count))
    if wanted > 0:
        _split(state, torch.argsort(state.stress, descending=True, stable=True)[:wanted])
    state.stress = torch.zeros_like(state.distances)


def _split(state: State, chosen: torch.Tensor) -> None:
    p = state.parameters
    length, axis = p["log_scales"][chosen].max(1)
    direction = rotations(p["quats"][chosen])[torch.arange(len(chosen), device=chosen.device), :, axis]
    shift = 0.5 * length.exp()[:, None] * direction
    p["log_scales"][chosen] -= math.log(SHRINK)
    parts = {name: p[name][chosen] for name in GROUPS}
    p["means"][chosen] -= shift
    parts["means"] = parts["means"] + shift
    for name in GROUPS:
        p[name] = torch.cat([p[name], parts[name]])
        for moments in (state.first, state.second):
            moments[name][chosen] = 0
            moments[name] = torch.cat([moments[name], torch.zeros_like(parts[name])])
    state.distances = torch.cat([state.distances, state.distances[chosen]])
    state.moves = torch.cat([state.moves, state.moves[chosen]])
    state.stress = torch.cat([state.stress, state.stress[chosen]])
