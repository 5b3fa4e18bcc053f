"""DDPNet, the policy that picks the leap step of a clip from its render (VideoScene, section 3.3; SPEC 2.3): a contextual bandit.

    context  the render's latent and its coverage        action  one of a grid of leap steps
    reward   -MSE(one-step prediction from t, latent of the *truth*); against the render t -> 0 would always win

The student is frozen, so the reward of every action is computed for each clip and the expectation in the policy's gradient is exact.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.errors import WeightsError
from stages.files.weight_tensors import read_safetensors, require_keys
from stages.video.one_step import Backbone, one_step

RELEASED = 459  # the constant step of the released code


class DDPNet(nn.Module):
    """Four 2-D convolutions on each latent frame; their output, averaged over the clip, is a logit a leap step.

    channels: C of the latent.  width: of the hidden layers.  grid: the leap steps.
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
        """The most probable leap step of one clip; arguments as of `forward` with B = 1."""
        return int(self.grid[int(self(latent, coverage)[0].argmax())])


def pooled(coverage: Tensor, latent: Tensor) -> Tensor:
    """The coverage [B, F, h, w], averaged over each value of a latent [B, T, C, H, W]: [B, T, H, W]; itself where it is that already."""
    return F.adaptive_avg_pool3d(coverage[:, None].float(), (latent.shape[1], *latent.shape[3:]))[:, 0]


def rewards(student: Backbone, z_render: Tensor, z_truth: Tensor, condition: Tensor, grid: Sequence[int], noise: Tensor) -> Tensor:
    """R(t) = -mean (x0_hat(t) - z_truth)^2 for each t of the grid, from one draw of the noise: [B, len(grid)], float32."""
    columns = []
    for step in grid:
        t = torch.full((len(z_render),), step, device=z_render.device)
        with torch.no_grad():
            made = one_step(student, z_render, condition, t, noise)
        columns.append(-((made - z_truth).float() ** 2).flatten(1).mean(1))
    return torch.stack(columns, 1)


def spread(table: Tensor) -> Tensor:
    """How much the rewards of each clip differ over the actions, [N, 1]: standard deviations, none below their median.

    table: [N, actions].  In one unit for all clips, the few whose rewards differ a hundred times as much as the others' would make the
    policy sure of one action within fifty steps, and a sure policy has no gradient.
    """
    deviation = table.std(1, keepdim=True)
    return deviation.clamp_min(max(float(deviation.median()), 1e-12))


def bandit_loss(logits: Tensor, rewards: Tensor, scale: Tensor, entropy: float) -> Tensor:
    """-E_{a ~ pi}[A(a)] - entropy * H(pi), meaned over clips: a scalar. Its gradient is the policy gradient without sampling noise.

    logits, rewards: [B, actions].  scale: [B, 1], see `spread`.  A = (R - mean of R over the clip's actions) / scale.
    """
    advantage = (rewards - rewards.mean(1, keepdim=True)) / scale
    log_pi = logits.log_softmax(1)
    pi = log_pi.exp()
    return -(pi * advantage).sum(1).mean() + entropy * (pi * log_pi).sum(1).mean()


def report(logits: Tensor, table: Tensor, known: Tensor, grid: Sequence[int]) -> dict[str, object]:
    """The policy on clips it never saw against the best fixed step, the released one and the oracle.

    logits, table: [N, actions], rewards of the held-out clips.  known: [M, actions], those of the training clips, which choose the best
    fixed step.  Returns mean rewards by name, the steps chosen, and entropies in nats: of the choices over clips, and the mean one of pi.
    """
    chosen = logits.argmax(1)
    fixed = int(known.mean(0).argmax())
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
    """The policy of a file, ready to choose. channels: of the latents. Raises WeightsError, which names the first key that differs."""
    tensors = {name: tensor.float() for name, tensor in read_safetensors(path).items()}
    grid, first = tensors.get("grid"), tensors.get("layers.0.weight")
    if grid is None or first is None or grid.dim() != 1 or first.dim() != 4:
        raise WeightsError(f"the weights {path} are of no policy", "grid or layers.0.weight is missing", "give the policy of this student")
    network = DDPNet(channels, first.shape[0], [int(t) for t in grid])
    require_keys(network.state_dict(), tensors, f"the weights {path} are of another policy", "give the policy of this student")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()) or not bool(((grid >= 0) & (grid < 1000)).all()):
        raise WeightsError(f"damaged weights {path}", "a value is not finite or a leap step no timestep", "give the policy of this student")
    network.load_state_dict(tensors)
    return network.eval()
