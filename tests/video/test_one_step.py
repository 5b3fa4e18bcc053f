import torch

from stages.video.one_step import one_step, place_ends, sample_sigma
from stages.video.schedule import add_noise
from tests.video.tiny import velocity


def test_the_backbone_sees_the_noised_render_then_the_condition() -> None:
    x0, condition, noise = torch.randn(3, 1, 3, 16, 4, 6, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([549])
    calls = []

    def backbone(x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        calls.append((x, at))
        return velocity(x0, noise, at)

    out = one_step(backbone, x0, condition, t, noise)
    ((x, at),) = calls
    assert torch.equal(x[:, :, :16], add_noise(x0, noise, t))
    assert torch.equal(x[:, :, 16:], condition)
    assert torch.equal(at, t)
    torch.testing.assert_close(out, x0, rtol=0, atol=1e-6)  # the true v gives the true x0


def test_the_photographs_are_at_the_ends() -> None:
    first, last = torch.randn(2, 1, 1, 16, 4, 6)
    condition = place_ends(first, last, 13)
    assert condition.shape == (1, 13, 16, 4, 6)
    assert torch.equal(condition[:, 0], first[:, 0])
    assert torch.equal(condition[:, 12], last[:, 0])
    assert not condition[:, 1:12].any()


def test_sigma_is_log_normal() -> None:
    generator = torch.Generator().manual_seed(0)
    logs = torch.cat([sample_sigma(generator, torch.zeros(1)) for _ in range(4000)]).log()
    assert abs(float(logs.mean()) + 3) < 0.03
    assert abs(float(logs.std()) - 0.5) < 0.02
