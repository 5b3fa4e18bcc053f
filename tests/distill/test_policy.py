"""DDPNet: its gradient is the policy's, it learns a rule that the render shows, and its report counts right."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from stages.distill.policy import DDPNet, bandit_loss, load_policy, policy_report, rewards, spread
from stages.errors import WeightsError
from stages.video.schedule import v_from_x0

GRID = (99, 299, 459)


def test_rewards_are_those_of_the_truth() -> None:
    """A student that adds t / 1000 to the render, of a truth that lies 0.3 above it, is best at 300."""
    render = torch.randn(2, 3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    noise, condition = torch.randn_like(render), torch.zeros_like(render)

    def student(x: Tensor, t: Tensor) -> Tensor:
        return v_from_x0(x[:, :, :4], render + t.reshape(-1, 1, 1, 1, 1) / 1000, t)

    found = rewards(student, render, render + 0.3, condition, GRID, noise)
    torch.testing.assert_close(found, torch.tensor([[-(0.201**2), -(0.001**2), -(0.159**2)]] * 2), rtol=1e-3, atol=1e-5)


def test_the_gradient_is_the_policy_gradient() -> None:
    """d/d logit_a of -E[A] is -pi_a (A_a - E[A])."""
    logits = torch.tensor([[0.3, -0.2, 0.5]], requires_grad=True)
    reward = torch.tensor([[-1.0, -3.0, -2.0]])
    bandit_loss(logits, reward, torch.full((len(reward), 1), 2.0), 0.0).backward()
    pi, advantage = logits.detach().softmax(1), (reward + 2) / 2
    expected = -pi * (advantage - (pi * advantage).sum())
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, expected)


def test_a_clip_counts_by_its_own_spread_but_noise_is_not_blown_up() -> None:
    table = torch.tensor([[0.0, 1.0], [0.0, 100.0], [0.0, 2.0], [0.0, 1e-6], [0.0, 2.0]])
    own = table.std(1, keepdim=True)
    torch.testing.assert_close(spread(table), torch.stack([own[2], own[1], own[2], own[2], own[2]]))
    assert bool((spread(torch.zeros(3, 4)) > 0).all())


def test_entropy_keeps_it_exploring() -> None:
    even, sure = torch.zeros(1, 3), torch.tensor([[9.0, 0, 0]])
    assert bandit_loss(even, torch.zeros(1, 3), torch.ones(1, 1), 0.1) < bandit_loss(
        sure, torch.zeros(1, 3), torch.ones(1, 1), 0.1
    )


def test_it_learns_what_the_coverage_says() -> None:
    """Well covered clips are best at the first step, others at the last."""
    torch.manual_seed(0)
    network = DDPNet(2, 8, GRID)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for step in range(60):
        g = torch.Generator().manual_seed(step)
        covered = torch.rand(16, generator=g)
        latent = torch.randn(16, 2, 2, 4, 4, generator=g)
        reward = torch.stack([covered, torch.full((16,), 0.4), 1 - covered], 1)
        loss = bandit_loss(
            network(latent, covered.reshape(-1, 1, 1, 1).expand(-1, 5, 16, 16)), reward, spread(reward), 0.01
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    latent = torch.zeros(1, 2, 2, 4, 4)
    assert network.choose(latent, torch.ones(1, 5, 16, 16)) == 99
    assert network.choose(latent, torch.zeros(1, 5, 16, 16)) == 459


def test_the_report() -> None:
    known = torch.tensor([[0.0, 2.0, 1.0]])
    table = torch.tensor([[3.0, 0.0, 0.0], [0.0, 1.0, 2.0]])
    logits = torch.tensor([[5.0, 0, 0], [0, 0, 5.0]])
    told = policy_report(logits, table, known, GRID)
    assert (told["policy"], told["oracle"], told["best fixed"], told["released"]) == (2.5, 2.5, 0.5, 1.0)
    assert (told["best fixed t"], told["released t"], told["clips"]) == (299, 459, 2)
    assert told["chosen"] == {"99": 1, "299": 0, "459": 1}
    assert told["entropy of choices"] == pytest.approx(0.6931, abs=1e-3)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, dict[str, Tensor]]:
    tensors = {name: value.clone() for name, value in DDPNet(2, 8, GRID).state_dict().items()}
    path = tmp_path / "policy.safetensors"
    save_file(tensors, path)
    return path, tensors


def test_it_is_read_back(saved: tuple[Path, dict[str, Tensor]]) -> None:
    network = load_policy(saved[0], 2)
    assert all(torch.equal(value, saved[1][name]) for name, value in network.state_dict().items())
    assert network.grid.tolist() == list(GRID)


@pytest.mark.parametrize(
    ("name", "value"), [("layers.1.weight", torch.zeros(8, 4, 3, 3)), ("layers.9.bias", torch.zeros(2)), ("grid", None)]
)
def test_another_policy_is_refused(saved: tuple[Path, dict[str, Tensor]], name: str, value: Tensor | None) -> None:
    path, tensors = saved
    tensors = {key: tensor for key, tensor in tensors.items() if key != name} | ({} if value is None else {name: value})
    save_file(tensors, path)
    with pytest.raises(WeightsError, match=name.replace(".", r"\.")):
        load_policy(path, 2)


def test_a_policy_of_other_latents_is_refused(saved: tuple[Path, dict[str, Tensor]]) -> None:
    with pytest.raises(WeightsError, match=r"layers\.0\.weight is \(8, 3, 3, 3\), not \(8, 17, 3, 3\)"):
        load_policy(saved[0], 16)
