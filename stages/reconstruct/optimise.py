"""The loop: draw a few targets, compare, step (Kerbl et al. 2023, with its loss, learning rates and schedule).

A step depends on the state and the step's number alone, so a run that goes on from a checkpoint ends as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.geometry import distance_to_cameras, turned_by
from stages.reconstruct.checkpoint import State, new_state
from stages.reconstruct.density import adapt_density
from stages.reconstruct.fill_gaps import fill
from stages.reconstruct.merge import thin
from stages.reconstruct.picture_loss import picture_loss
from stages.reconstruct.position_steps import from_moves, moves, origins, to_moves
from stages.reconstruct.targets import Targets
from stages.scene import Cameras, Gaussians
from stages.splat import NEAR, draw

# Adam's learning rates (Kerbl et al. 2023); those of positions are twice sideways and once along the ray, in units of position_steps.py.
RATES = {
    "means": (1.6e-4, 1.6e-4, 0.2),
    "quats": 1e-3,
    "log_scales": 5e-3,
    "logits": 5e-2,
    "sh_0": 2.5e-3,
    "sh_rest": 2.5e-3 / 20,
    "poses": 5e-4,
}
DECAY = 0.1  # of all rates, from the first step to the last, exponentially
# Depths, sizes and opacities have the rates of a run of PACED steps: a shorter run takes longer steps, up to FASTEST times. In a longer one
# depths, which start near the truth, take shorter ones. (Turns, colours and steps sideways fit the photographs without making other views
# better, so they never hurry.)
PACED, FASTEST = 160, 4.0
BETAS, EPSILON = (0.9, 0.999), 1e-15

# Steps of a run on many photographs; on a repaired clip, from a prior that is right already (with 600 its frames gain 0.1 dB more or lose
# 0.7, and other views lose up to 0.2); and on the two photographs of a prior alone, where more make other views worse.
STEPS, STEPS_OF_A_CLIP, STEPS_OF_A_PAIR = 600, 100, 24

Progress = Callable[[int, int, float, float], None]  # (steps done, steps in all, loss, PSNR in dB of what was drawn)


@dataclass(frozen=True)
class Settings:
    """How to optimise.

    steps: how many.  views: targets drawn a step, one of them a photograph.  gaussians: the most there may be.  refine_poses: whether
    the cameras of generated frames may move.  seed: of the order in which frames are drawn.
    """

    steps: int = STEPS
    views: int = 3
    gaussians: int = 300_000
    refine_poses: bool = False
    seed: int = 0
    adapt_every: int = 100  # steps between changes of the number of Gaussians
    adapt_until: float = 0.7  # of all steps
    tolerance: float = 1.5  # a frame whose loss is this many times the median counts less


@dataclass(frozen=True)
class Reconstruction:
    """gaussians: the refined scene.  cameras: of the targets, as refined.  losses: [N], of each target when last drawn, NaN if never."""

    gaussians: Gaussians
    cameras: Cameras
    losses: Tensor


def reconstruct(
    gaussians: Gaussians,
    targets: Targets,
    settings: Settings,
    state: State | None = None,
    progress: Progress | None = None,
    save: Callable[[State], None] | None = None,
    save_every: int = 100,
) -> Reconstruction:
    """Refine Gaussians until they draw the targets.

    state: where an earlier run of the same arguments stopped.  save: called with the state every `save_every` steps; what it keeps makes
    the run resumable. Works on the device of the Gaussians. Raises InputError when no Gaussian is visible.
    """
    targets = targets.to(gaussians.means.device)
    state = start(gaussians, targets, settings.gaussians) if state is None else state
    while state.step < settings.steps:
        loss, psnr = take_step(state, targets, settings)
        if progress is not None:
            progress(state.step, settings.steps, loss, psnr)
        if save is not None and state.step % save_every == 0 and state.step < settings.steps:
            save(state)
    cameras = moved(targets.cameras, state.parameters["poses"], scene_depth(state))
    return Reconstruction(state.gaussians(), cameras, state.losses)


def start(gaussians: Gaussians, targets: Targets, budget: int) -> State:
    """The first state: thinned to 80 % of the budget if need be, so that holes can be filled and Gaussians split."""
    photographs = targets.cameras[: targets.photographs]
    thinned, of = thin(gaussians, targets.cameras, int(0.8 * budget))
    scene = fill(thinned, targets, budget)
    added = origins(scene[len(thinned) :], photographs)
    seen_from = torch.cat([origins(gaussians, photographs)[of], added])
    return new_state(scene, distance_to_cameras(scene.means, targets.cameras), moves(scene.means, seen_from, photographs), len(targets))


def take_step(state: State, targets: Targets, settings: Settings) -> tuple[float, float]:
    """One step, in place; the loss and the PSNR (dB) of the pictures drawn."""
    chosen = choose(state.step, targets, settings)
    names = [name for name in RATES if (name != "poses" or settings.refine_poses) and state.parameters[name].numel()]
    leaves = {name: state.parameters[name].detach().requires_grad_() for name in names}
    current = State(state.step, state.parameters | leaves)
    cameras = targets.cameras[chosen]
    if settings.refine_poses:
        free = leaves["poses"][chosen] * (torch.tensor(chosen, device=targets.images.device) >= targets.photographs)[:, None]
        cameras = moved(cameras, free, scene_depth(state))
    pictures = draw(current.gaussians(), cameras, near=NEAR * scene_depth(state)).image
    truth = targets.images[chosen]
    losses = picture_loss(pictures, truth, targets.weight[chosen])
    loss = (losses * _trust(losses.detach(), state.losses, chosen, targets.photographs, settings.tolerance)).mean()
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    with torch.no_grad():
        state.losses[chosen] = losses.detach()
        _adam(state, dict(zip(names, gradients, strict=True)), settings.steps)
        state.stress += gradients[names.index("means")].norm(dim=1) * state.distances
        state.step += 1
        if state.step % settings.adapt_every == 0 and state.step <= settings.adapt_until * settings.steps:
            adapt_density(state, settings.gaussians)
        psnr = -10 * torch.log10((pictures.detach().clamp(0, 1) - truth).square().mean().clamp_min(1e-10))
    return float(loss.detach()), float(psnr)


def choose(step: int, targets: Targets, settings: Settings) -> list[int]:
    """The targets of a step: a photograph in turn, the rest frames in a random order that shows each once before any again.

    Without frames, or without enough of them, photographs take their place. (Two photographs and one frame a step fit the photographs as
    well and held-out views worse.)
    """
    photographs, frames = targets.photographs, targets.counted - targets.photographs
    of_frames = min(settings.views - 1, frames)
    of_photographs = min(settings.views - of_frames, photographs)
    chosen = [(step * of_photographs + k) % photographs for k in range(of_photographs)]
    for k in range(of_frames):
        epoch, place = divmod(step * of_frames + k, frames)
        order = torch.randperm(frames, generator=torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch))
        chosen.append(photographs + int(order[place]))
    return list(dict.fromkeys(chosen))


def _trust(losses: Tensor, before: Tensor, chosen: list[int], photographs: int, tolerance: float) -> Tensor:
    """How much each drawn picture counts, [n]: 1, but less for a generated frame that disagrees with the rest.

    A frame of loss l counts (t m / l)^2 where l exceeds t m, with m the median loss of the frames (Geman-McClure's tail).
    """
    weight = torch.ones_like(losses)
    known = before[photographs:]
    known = known[~known.isnan()]
    if len(known):
        bound = tolerance * known.median()
        generated = torch.tensor(chosen, device=losses.device) >= photographs
        weight = torch.where(generated, (bound / losses.clamp_min(1e-12)).clamp_max(1.0) ** 2, weight)
    return weight


def _adam(state: State, gradients: dict[str, Tensor], steps: int) -> None:
    """Kingma & Ba 2015, every group with its own rate."""
    beta_1, beta_2 = BETAS
    t, pace = state.step + 1, min(FASTEST, PACED / steps)
    for name, given in gradients.items():
        gradient = to_moves(state.moves, given, gradients["log_scales"]) if name == "means" else given
        first, second = state.first[name], state.second[name]
        first.lerp_(gradient, 1 - beta_1)
        second.mul_(beta_2).addcmul_(gradient, gradient, value=1 - beta_2)
        rate = gradient.new_tensor(RATES[name]) * DECAY ** (state.step / steps)
        if name == "means":
            rate[2] *= pace
        elif name in ("log_scales", "logits"):
            rate *= max(1.0, pace)
        change = first / (second.sqrt().div_((1 - beta_2**t) ** 0.5).add_(EPSILON)) * (-rate / (1 - beta_1**t))
        if name == "means":
            change, growth = from_moves(state.moves, change)
            state.parameters["log_scales"] += growth
        state.parameters[name] += change


def scene_depth(state: State) -> float:
    """Median distance of the Gaussians, scene units: the unit in which cameras move, and of the near plane."""
    return float(state.distances.median())


def moved(cameras: Cameras, poses: Tensor, depth: float) -> Cameras:
    """Cameras turned and shifted in their own axes. poses: [N, 6], rotation vector (rad) and shift (in units of `depth`)."""
    if not bool((poses != 0).any()) and not poses.requires_grad:
        return cameras
    poses = poses.to(cameras.c2w)
    top = torch.cat([turned_by(poses[:, :3]), depth * poses[:, 3:, None]], 2)
    bottom = top.new_tensor([0.0, 0, 0, 1]).expand(len(top), 1, 4)
    return Cameras(cameras.c2w @ torch.cat([top, bottom], 1), cameras.K, cameras.size)
