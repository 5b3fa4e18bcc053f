"""PSNR and SSIM against scikit-image 0.26 (values computed once, offline)."""

import math

import pytest
import torch

from stages.errors import InputError
from stages.metrics.image import psnr, ssim
from tests.metrics.conftest import Pair

# structural_similarity(win_size=11, gaussian_weights=True, channel_axis=0, data_range=1.0) and
# peak_signal_noise_ratio(data_range=1.0)
SCIKIT_IMAGE = [
    (0, (3, 32, 40), 0.1, 30.83645311231591, 0.9948836829893898),
    (1, (3, 11, 11), 0.3, 21.775792006420343, 0.9678498806218429),
    (2, (1, 48, 17), 0.02, 44.67107799448145, 0.9997916359403022),
    (3, (3, 64, 64), 1.0, 12.04369038193576, 0.6748479364693205),
]


@pytest.mark.parametrize(("seed", "shape", "noise", "psnr_value", "ssim_value"), SCIKIT_IMAGE)
def test_equals_scikit_image(
    a_pair: Pair, seed: int, shape: tuple[int, int, int], noise: float, psnr_value: float, ssim_value: float
) -> None:
    a, b = a_pair(seed, shape, noise)
    assert psnr(a, b).item() == pytest.approx(psnr_value, abs=1e-9)
    assert ssim(a, b).item() == pytest.approx(ssim_value, abs=1e-9)
    assert ssim(a.float(), b.float()).item() == pytest.approx(ssim_value, abs=1e-6)


def test_a_frame_counts_alone() -> None:
    """The figure of a frame depends neither on its neighbours in the batch nor on the number of threads."""
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(5, 3, 40, 40, generator=generator)
    b = (a + 0.1 * torch.rand(5, 3, 40, 40, generator=generator)).clamp(0, 1)
    threads = torch.get_num_threads()
    for metric in (psnr, ssim):
        together = metric(a, b)
        torch.set_num_threads(1)
        alone = torch.cat([metric(a[i : i + 1], b[i : i + 1]) for i in range(5)])
        torch.set_num_threads(threads)
        torch.testing.assert_close(together, alone, atol=1e-10, rtol=0)


def test_equal_frames() -> None:
    a = torch.rand(2, 3, 16, 16)
    assert torch.isinf(psnr(a, a)).all()
    torch.testing.assert_close(ssim(a, a), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_what_cannot_be_compared(metric) -> None:  # type: ignore[no-untyped-def]
    a = torch.rand(2, 3, 16, 16)
    with pytest.raises(InputError, match="frames cannot be compared"):
        metric(a, a[:1])
    with pytest.raises(InputError, match="16"):
        metric(a, a[..., :15])
    broken = a.clone()
    broken[1, 2, 3, 4] = math.nan
    with pytest.raises(InputError, match="the frames hold NaN"):
        metric(broken, a)
    with pytest.raises(InputError, match="the truth hold NaN"):
        metric(a, broken)


def test_ssim_needs_a_window() -> None:
    a = torch.rand(1, 3, 10, 40)
    with pytest.raises(InputError, match="10, 40"):
        ssim(a, a)
