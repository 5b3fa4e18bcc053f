"""The optimisation loop: render a few targets, compare, step (Kerbl et al. 2023, with its loss and learning rates).

A step depends only on the state and on its number, so a run that continues from a checkpoint gives the same result.
"""

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
from stages.reconstruct.position_steps import from_unit_steps, origins, to_unit_steps, unit_steps
from stages.reconstruct.targets import Targets
from stages.reconstruct.whole_surfaces import HOLE_WEIGHT, hole_loss, smallest_scales
from stages.scene import Cameras, Gaussians
from stages.splat import NEAR, draw

# Adam's learning rates (Kerbl et al. 2023). Those of means are in the units of position_steps.py: two across the ray,
# one along it. The others are in the units of State.parameters.
RATES = {
    "means": (1.6e-4, 1.6e-4, 0.2),
    "quats": 1e-3,
    "log_scales": 5e-3,
    "logits": 5e-2,
    "sh_0": 2.5e-3,
    "sh_rest": 2.5e-3 / 20,
    "poses": 5e-4,
}
DECAY = 0.1  # all learning rates fall exponentially to this share of their first value
# Some rates are multiplied by a factor that depends on the number of steps. The pace is PACED_STEPS / steps, but at
# most LARGEST_PACE. The factors are:
#   depths (means along the ray)             the pace, even if it is below 1, because depths begin near the truth
#   sizes (log_scales), opacities (logits)   the pace if it is above 1
#   colours (sh_0, sh_rest)                  twice the pace if that is above 1: Gaussians that may not be small need
#                                            strong colours to look sharp
#   rotations, moves across the ray          1: larger rates fit the photographs but do not improve other views
#   cameras (poses)                          1
# No rate is multiplied if Gaussians may not move (Settings.moves), because one cloud is nearly right from the start.
PACED_STEPS, LARGEST_PACE = 160, 4.0
BETAS, EPSILON = (0.9, 0.999), 1e-15  # Adam's decay rates of the two moments, and its epsilon (Kerbl et al. 2023)

STEPS = 600  # default number of steps for many photographs
# Default number of steps if the one cloud of a pair is refined on the repaired clip of the pair.
STEPS_OF_A_CLIP = 48
# The same if this cloud is refined on the two photographs alone. There, more steps make other views worse.
STEPS_OF_A_PAIR = 12
# Unless the user says otherwise, a scene of many photographs gets at most this many Gaussians.
GAUSSIANS = 300_000
GAUSSIANS_OF_A_CLOUD = 1_500_000  # the same for the one cloud of a pair, high enough that none are merged
SAVE_EVERY = 50  # number of steps between two checkpoints

# (steps done, total steps, loss, PSNR of the rendered targets in dB)
Progress = Callable[[int, int, float, float], None]


@dataclass(frozen=True)
class Settings:
    """Options of the optimisation."""

    steps: int = STEPS
    # Targets per step: one photograph, and frames otherwise. If there are too few frames, photographs take their place.
    views: int = 3
    gaussians: int = GAUSSIANS  # largest number of Gaussians
    moves: bool = True  # whether Gaussians may move and their number may change; see `of_a_cloud`
    refine_poses: bool = False  # whether the cameras of generated frames may move
    seed: int = 0  # seed of the random order of frames, and of the random crops in which holes are looked for
    adapt_every: int = 100  # steps between two changes of the number of Gaussians
    adapt_until: float = 0.7  # after this share of all steps, the number of Gaussians no longer changes
    tolerance: float = 1.5  # a frame counts less if its loss exceeds this multiple of the frames' median loss

    @classmethod
    def of_a_cloud(cls, steps: int, seed: int = 0) -> "Settings":
        """Options for the one cloud of a pair (stages/render/cloud.py).

        Its colours are fitted to the order in which its Gaussians hide each other. Steps of a hundredth of a pixel
        change that order, and the picture of a wall loses 10 dB. So the Gaussians stay where they are.
        """
        return cls(steps, gaussians=GAUSSIANS_OF_A_CLOUD, moves=False, seed=seed)


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """The result.

    gaussians: the refined scene.  targets: what it was refined on.  cameras: the targets' cameras, as refined.
    losses: [N], the loss of each target when it was last rendered, NaN if it never was.
    """

    gaussians: Gaussians
    targets: Targets
    cameras: Cameras
    losses: Tensor


def reconstruct(
    gaussians: Gaussians,
    targets: Targets,
    settings: Settings,
    state: State | None = None,
    progress: Progress | None = None,
    save: Callable[[State], None] | None = None,
) -> Reconstruction:
    """Refine Gaussians so that they render the targets. Works on the device of the Gaussians.

    state: the state at which an earlier run with the same arguments stopped.
    save: called with the state every SAVE_EVERY steps.  Raises InputError when no Gaussian is visible.
    """
    targets = targets.to(gaussians.means.device)
    state = start(gaussians, targets, settings.gaussians) if state is None else state
    while state.step < settings.steps:
        loss, psnr = take_step(state, targets, settings)
        if progress is not None:
            progress(state.step, settings.steps, loss, psnr)
        if save is not None and state.step % SAVE_EVERY == 0 and state.step < settings.steps:
            save(state)
    cameras = move_cameras(targets.cameras, state.parameters["poses"], scene_depth(state))
    return Reconstruction(state.gaussians(), targets, cameras, state.losses)


def start(gaussians: Gaussians, targets: Targets, budget: int) -> State:
    """The first state. Gaussians are merged to at most 80 % of the budget, to leave room for holes and splits."""
    photographs = targets.cameras[: targets.photographs]
    first_scene, index = thin(gaussians, targets.cameras, int(0.8 * budget))
    scene = fill(first_scene, targets, budget)
    # The camera that saw each Gaussian. If the scene says which photograph each Gaussian comes from, it is the camera
    # of that photograph. Otherwise, and for new Gaussians in holes, it is the nearest one.
    rays_from = torch.cat([origins(gaussians, photographs)[index], origins(scene[len(first_scene) :], photographs)])
    steps = unit_steps(scene.means, rays_from, photographs)
    distances = distance_to_cameras(scene.means, targets.cameras)
    return new_state(scene, distances, steps, smallest_scales(scene.means, targets.cameras), len(targets))


def take_step(state: State, targets: Targets, settings: Settings) -> tuple[float, float]:
    """Change the state by one step. Returns the loss and the PSNR (dB) of the rendered targets."""
    indices = choose(state.step, targets, settings)
    fixed = {name for name, free in (("poses", settings.refine_poses), ("means", settings.moves)) if not free}
    names = [name for name in RATES if name not in fixed and state.parameters[name].numel()]
    leaves = {name: state.parameters[name].detach().requires_grad_() for name in names}
    current = State(state.step, state.parameters | leaves)
    # Render the targets. The cameras of photographs stay.
    cameras = targets.cameras[indices]
    if settings.refine_poses:
        is_frame = torch.tensor(indices, device=targets.images.device) >= targets.photographs
        free = leaves["poses"][indices] * is_frame[:, None]
        cameras = move_cameras(cameras, free, scene_depth(state))
    gaussians, near = current.gaussians(), NEAR * scene_depth(state)
    pictures = draw(gaussians, cameras, near).image
    truth = targets.images[indices]
    losses = picture_loss(pictures, truth, targets.weight[indices])
    trust = _trust(losses.detach(), state.losses, indices, targets.photographs, settings.tolerance)
    holes = hole_loss(gaussians, targets, state.step, settings.seed, near)
    loss = (losses * trust).mean() + HOLE_WEIGHT * holes
    # Step, and add or remove Gaussians if it is time.
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    with torch.no_grad():
        state.losses[indices] = losses.detach()
        by_name = dict(zip(names, gradients, strict=True))
        _adam(state, by_name, settings)
        if settings.moves:
            state.position_gradients += by_name["means"].norm(dim=1) * state.distances
        state.step += 1
        due = state.step % settings.adapt_every == 0 and state.step <= settings.adapt_until * settings.steps
        if due and settings.moves:
            adapt_density(state, settings.gaussians)
        psnr = -10 * torch.log10((pictures.detach().clamp(0, 1) - truth).square().mean().clamp_min(1e-10))
    return float(loss.detach()), float(psnr)


def choose(step: int, targets: Targets, settings: Settings) -> list[int]:
    """The indices of a step's targets: one photograph, the rest frames, or photographs if frames are too few.

    Photographs take turns. Frames have a random order in which each comes once before any comes again. (Two photographs
    and one frame per step fit the photographs as well, but held-out views worse.)
    """
    photographs, frames = targets.photographs, targets.counted - targets.photographs
    frames_per_step = min(settings.views - 1, frames)
    photographs_per_step = min(settings.views - frames_per_step, photographs)
    indices = [(step * photographs_per_step + k) % photographs for k in range(photographs_per_step)]
    for k in range(frames_per_step):
        epoch, index = divmod(step * frames_per_step + k, frames)
        order = torch.randperm(frames, generator=torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch))
        indices.append(photographs + int(order[index]))
    return list(dict.fromkeys(indices))


def _trust(losses: Tensor, before: Tensor, indices: list[int], photographs: int, tolerance: float) -> Tensor:
    """The weight [n] of each target of a step: 1, but less for a generated frame that disagrees with the others.

    losses: [n], the losses of this step.  before: [N], the last loss of every target, NaN if there is none.
    With m the median loss of the frames, a frame whose loss l exceeds `tolerance` m has the weight (tolerance m / l)^2,
    as in the tail of the Geman-McClure loss.
    """
    weight = torch.ones_like(losses)
    of_frames = before[photographs:]
    of_frames = of_frames[~of_frames.isnan()]
    if len(of_frames):
        bound = tolerance * of_frames.median()
        generated = torch.tensor(indices, device=losses.device) >= photographs
        weight = torch.where(generated, (bound / losses.clamp_min(1e-12)).clamp_max(1.0) ** 2, weight)
    return weight


def _adam(state: State, gradients: dict[str, Tensor], settings: Settings) -> None:
    """One step of Adam (Kingma and Ba 2015) with a learning rate per parameter."""
    beta_1, beta_2 = BETAS
    t, steps = state.step + 1, settings.steps
    pace = min(LARGEST_PACE, PACED_STEPS / steps) if settings.moves else 0.0
    for name, gradient in gradients.items():
        if name == "means":
            gradient = to_unit_steps(state.unit_steps, gradient, gradients["log_scales"])
        first, second = state.first[name], state.second[name]
        first.lerp_(gradient, 1 - beta_1)
        second.mul_(beta_2).addcmul_(gradient, gradient, value=1 - beta_2)
        rate = gradient.new_tensor(RATES[name]) * DECAY ** (state.step / steps)
        if name == "means":
            rate[2] *= pace
        elif name in ("log_scales", "logits"):
            rate *= max(1.0, pace)
        elif name in ("sh_0", "sh_rest"):
            rate *= max(1.0, 2 * pace)
        change = first / (second.sqrt().div_((1 - beta_2**t) ** 0.5).add_(EPSILON)) * (-rate / (1 - beta_1**t))
        if name == "means":
            change, growth = from_unit_steps(state.unit_steps, change)
            state.parameters["log_scales"] += growth
        state.parameters[name] += change
    state.enlarge()


def scene_depth(state: State) -> float:
    """Median distance of the Gaussians from the cameras, scene units: the unit of camera shifts and the near plane."""
    return float(state.distances.median())


def move_cameras(cameras: Cameras, poses: Tensor, depth: float) -> Cameras:
    """Turn and shift cameras in their own axes. poses: [N, 6], rotation vector (rad) and shift (in depths)."""
    if not bool((poses != 0).any()) and not poses.requires_grad:
        return cameras
    poses = poses.to(cameras.c2w)
    top = torch.cat([turned_by(poses[:, :3]), depth * poses[:, 3:, None]], 2)
    bottom = top.new_tensor([0.0, 0, 0, 1]).expand(len(top), 1, 4)
    return Cameras(cameras.c2w @ torch.cat([top, bottom], 1), cameras.K, cameras.size)
