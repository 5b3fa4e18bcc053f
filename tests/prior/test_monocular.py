"""The monocular branch: its depth is fitted to matches although some are wrong, and it votes for the surface."""

import pytest
import torch
from torch import Generator

from stages.distill.prior_losses import monocular_error
from stages.prior.config import SMALL
from stages.prior.monocular import Monocular, MonocularOutput, fit_to_sweep, vote
from stages.prior.plane_sweep import inverse_depths

CANDIDATES = inverse_depths(torch.tensor([[1.0, 20.0]]), 64, 16)  # [1, 64]


def test_the_scale_of_right_matches_is_found_among_wrong_ones() -> None:
    """A third of the matches are far off, and still the fit returns the true depth everywhere."""
    g = Generator().manual_seed(0)
    truth = (torch.rand(2, 1, 24, 32, generator=g) * 2.0) - 2.5  # logarithm of inverse depth
    alone = (truth - 0.7) / 1.2  # what the branch says: another scale, another slope
    wrong = torch.rand(2, 1, 24, 32, generator=g) < 0.33
    matched = torch.where(wrong, torch.rand(2, 1, 24, 32, generator=g) + 0.1, truth.exp())
    weight = (torch.rand(2, 1, 24, 32, generator=g) < 0.3).float()
    fitted = fit_to_sweep(alone, matched, weight, CANDIDATES.expand(2, -1))
    assert (fitted - truth).abs().max() < 0.1
    nothing = torch.zeros_like(weight)
    assert (fit_to_sweep(alone, matched, nothing, CANDIDATES.expand(2, -1)) - truth).abs().median() > 0.2


def test_without_matches_the_depth_lies_in_the_middle_of_the_sweep() -> None:
    alone = torch.randn(1, 1, 8, 8, generator=Generator().manual_seed(0)) * 0.1
    fitted = fit_to_sweep(alone, torch.ones(1, 1, 8, 8), torch.zeros(1, 1, 8, 8), CANDIDATES)
    assert fitted.mean() == pytest.approx(float(CANDIDATES.log().median()), abs=1e-3)
    assert (fitted - fitted.mean() - (alone - alone.mean())).abs().max() < 1e-3, "the slope is 1"


def test_the_fit_passes_gradients_to_the_branch() -> None:
    g = Generator().manual_seed(0)
    alone = torch.randn(1, 1, 8, 8, generator=g, dtype=torch.float64, requires_grad=True)
    matched = (torch.rand(1, 1, 8, 8, generator=g, dtype=torch.float64) + 0.2).requires_grad_()
    weight = torch.rand(1, 1, 8, 8, generator=g, dtype=torch.float64)
    fit_to_sweep(alone, matched, weight, CANDIDATES.double()).sum().backward()
    assert alone.grad is not None
    assert bool(alone.grad.isfinite().all())
    assert float(alone.grad.abs().sum()) > 0


def test_the_vote_is_highest_at_the_plane_it_names_and_falls_with_the_spread() -> None:
    fitted = CANDIDATES[:, 30, None, None, None].log().expand(1, 1, 2, 2)
    narrow, wide = (vote(fitted, torch.full((1, 1, 2, 2), spread), CANDIDATES) for spread in (0.05, 0.5))
    assert narrow.shape == (1, 64, 2, 2)
    assert narrow[0, :, 0, 0].argmax() == 30
    assert narrow.max() == pytest.approx(1.0)
    assert (wide[:, 20] > narrow[:, 20]).all()


def test_planes_go_on_beyond_near() -> None:
    planes = 1 / inverse_depths(torch.tensor([2.0, 20.0]), 64, 16)
    assert planes[0] == pytest.approx(20.0)
    assert planes[47] == pytest.approx(2.0)
    assert planes[-1] == pytest.approx(2.0 / 2.8, rel=1e-5)
    assert (planes.diff() < 0).all()


def test_any_size_is_taken_and_a_scale_of_depth_does_not_matter() -> None:
    torch.manual_seed(0)
    assert SMALL.monocular is not None
    branch = Monocular(SMALL.monocular)
    output = branch(torch.rand(1, 3, 48, 80))
    assert output.quarter_size.shape == (1, 64, 12, 20)
    assert output.half_size.shape == (1, 16, 24, 40)
    depth = torch.rand(1, 1, 12, 20, generator=Generator().manual_seed(1)) + 0.5
    one, ten = monocular_error(output, depth), monocular_error(output, 10 * depth)
    assert one.item() == pytest.approx(ten.item(), abs=1e-4)


def test_the_loss_wants_the_true_depth_and_an_honest_spread() -> None:
    g = Generator().manual_seed(0)
    depth = torch.rand(1, 1, 16, 16, generator=g) + 0.5
    noise = 0.1 * torch.randn(1, 1, 16, 16, generator=g)

    def error(offset: torch.Tensor, spread: float) -> float:
        zero = torch.zeros(1, 1, 16, 16)
        return float(monocular_error(MonocularOutput(zero, zero, -depth.log() + offset, zero + spread), depth))

    assert error(noise * 0, 0.1) < error(noise, 0.1)
    assert error(noise, 0.08) < min(error(noise, 0.02), error(noise, 0.6))
