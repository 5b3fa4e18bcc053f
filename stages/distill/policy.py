"""DDPNet (VideoScene, section 3.3): the policy that chooses a clip's leap step from its render.

It solves a contextual bandit:
    context  the render's latent and its coverage
    action   one of a grid of leap steps
    reward   -MSE(one-step prediction from t, latent of the *truth*); with the render's latent, t -> 0 would always win

The student is frozen, so every action's reward is computed once per clip. The policy's gradient is then exact.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.errors import WeightsError
from stages.files.weight_tensors import read_safetensors, require_keys
from stages.video.one_step import Backbone, one_step

RELEASED = 459  # leap step of the released code (noposplat/src/app.py) for photographs without poses


class DDPNet(nn.Module):
    """Four 2-D convolutions on each latent frame. Their mean over the clip is one logit per leap step.

    channels: C of the latent.  width: channels of the hidden layers.  grid: the leap steps.
    """

    def __init__(self, channels: int, width: int, grid: Sequence[int]) -> None:
        super().__init__()
        sizes = (channels + 1, width, width, width, len(grid))
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(sizes))
        self.register_buffer("grid", torch.tensor(grid, dtype=torch.float32))
        self.grid: Tensor

    def forward(self, latent: Tensor, coverage: Tensor) -> Tensor:
        """latent: the render's, [B, T, C, H, W].  coverage: [B, F, h, w] in [0, 1].  Returns logits, [B, len(grid)]."""
        x = torch.cat([latent.float(), pooled(coverage, latent)[:, :, None]], 2).flatten(0, 1)
        for layer in self.layers[:-1]:
            x = F.silu(layer(x))
        return self.layers[-1](x).mean((2, 3)).unflatten(0, latent.shape[:2]).mean(1)

    @torch.no_grad()
    def choose(self, latent: Tensor, coverage: Tensor) -> int:
        """The most probable leap step of one clip. The arguments are those of `forward` with B = 1."""
        return int(self.grid[int(self(latent, coverage)[0].argmax())])


def pooled(coverage: Tensor, latent: Tensor) -> Tensor:
    """The coverage [B, F, h, w], averaged over the pixels of each latent value [B, T, C, H, W]: [B, T, H, W].

    A coverage of that shape is returned as it is.
    """
    return F.adaptive_avg_pool3d(coverage[:, None].float(), (latent.shape[1], *latent.shape[3:]))[:, 0]


def rewards(
    student: Backbone, z_render: Tensor, z_truth: Tensor, condition: Tensor, grid: Sequence[int], noise: Tensor
) -> Tensor:
    """R(t) = -mean (x0_hat(t) - z_truth)^2 for each t of the grid, all with the same noise: [B, len(grid)], float32."""
    columns = []
    for step in grid:
        t = torch.full((len(z_render),), step, device=z_render.device)
        with torch.no_grad():
            x0_hat = one_step(student, z_render, condition, t, noise)
        columns.append(-((x0_hat - z_truth).float() ** 2).flatten(1).mean(1))
    return torch.stack(columns, 1)


def spread(table: Tensor) -> Tensor:
    """The standard deviation of each clip's rewards over the actions, [N, 1], but at least the median of all clips.

    table: rewards, [N, actions]. With one common scale, a few clips with a hundred times larger differences would make
    the policy certain of one action within fifty steps, and a certain policy has no gradient.
    """
    deviation = table.std(1, keepdim=True)
    return deviation.clamp_min(max(float(deviation.median()), 1e-12))


def bandit_loss(logits: Tensor, rewards: Tensor, scale: Tensor, entropy: float) -> Tensor:
    """-E_{a ~ pi}[A(a)] - entropy * H(pi), averaged over clips: a scalar. Its gradient is the exact policy gradient.

    logits, rewards: [B, actions].  scale: [B, 1], see `spread`.  A = (R - mean of R over the clip's actions) / scale.
    """
    advantage = (rewards - rewards.mean(1, keepdim=True)) / scale
    log_pi = logits.log_softmax(1)
    pi = log_pi.exp()
    return -(pi * advantage).sum(1).mean() + entropy * (pi * log_pi).sum(1).mean()


def policy_report(logits: Tensor, table: Tensor, training_rewards: Tensor, grid: Sequence[int]) -> dict[str, object]:
    """Compare the policy, on held-out clips, with the best fixed step, the released step and the best step per clip.

    logits, table: [N, actions], of the held-out clips; table holds rewards.
    training_rewards: [M, actions], from which the best fixed step follows.  Returns mean rewards by name, counts of
    chosen steps, and two entropies in nats: of the choices over all clips, and the mean entropy of pi.
    """
    chosen = logits.argmax(1)
    fixed = int(training_rewards.mean(0).argmax())
    released = min(range(len(grid)), key=lambda action: abs(grid[action] - RELEASED))
    share = torch.bincount(chosen, minlength=len(grid)).float() / len(chosen)
    pi = logits.softmax(1)
    best = table.argmax(1)
    return {
        "clips": len(table),
        "policy": float(table.gather(1, chosen[:, None]).mean()),
        "best fixed": float(table[:, fixed].mean()),
        "best fixed t": grid[fixed],
        "released": float(table[:, released].mean()),
        "released t": grid[released],
        "oracle": float(table.max(1).values.mean()),
        "by t": {str(t): float(value) for t, value in zip(grid, table.mean(0), strict=True)},
        "chosen": {str(t): int((chosen == action).sum()) for action, t in enumerate(grid)},
        "best": {str(t): int((best == action).sum()) for action, t in enumerate(grid)},
        "entropy of choices": float(-(share * share.clamp(min=1e-12).log()).sum()),
        "entropy of pi": float(-(pi * pi.clamp(min=1e-12).log()).sum(1).mean()),
    }


def load_policy(path: Path, channels: int) -> DDPNet:
    """The policy in a file, ready to use. channels: C of the latents.

    Raises WeightsError when the file is damaged, or holds no policy for such latents.
    """
    hint = "give the policy of this student"
    tensors = {name: tensor.float() for name, tensor in read_safetensors(path).items()}
    grid, first = tensors.get("grid"), tensors.get("layers.0.weight")
    if grid is None or first is None or grid.dim() != 1 or first.dim() != 4:
        why = "grid or layers.0.weight is missing"
        raise WeightsError(f"the weights {path} are of no policy", why, hint)
    network = DDPNet(channels, first.shape[0], [int(t) for t in grid])
    require_keys(network.state_dict(), tensors, f"the weights {path} are of another policy", hint)
    finite = all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())
    if not finite or not bool(((grid >= 0) & (grid < 1000)).all()):
        raise WeightsError(f"damaged weights {path}", "a value is not finite, or a leap step is no timestep", hint)
    network.load_state_dict(tensors)
    return network.eval()
