"""LPIPS against the official `lpips` 0.1.4 (values computed once, offline, with the same backbone weights)."""

from pathlib import Path

import pytest
import torch

from stages.errors import InputError
from stages.metrics.lpips import LPIPS
from stages.metrics.network_files import load
from tests.metrics.conftest import Pair

CASES = [(0, (3, 64, 64), 0.1), (1, (3, 48, 80), 0.5), (2, (3, 67, 71), 1.0)]
OFFICIAL = {
    "vgg": [0.005842680111527443, 0.08208189904689789, 0.16446493566036224],
    "alex": [0.0016745044849812984, 0.029375454410910606, 0.0641479343175888],
}


def random_weights(network: str) -> dict[str, torch.Tensor]:
    """Weights of the right shapes, for what does not depend on values."""
    generator = torch.Generator().manual_seed(0)
    sizes = {"vgg": [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512], "alex": [64, 192, 384, 256, 256]}[
        network
    ]
    windows = {"vgg": [3] * 13, "alex": [11, 5, 3, 3, 3]}[network]
    prefix, heads = {"vgg": ("VGG16_0", [64, 128, 256, 512, 512]), "alex": ("AlexNet_0", sizes)}[network]
    weights = {}
    for i, (before, after, k) in enumerate(zip([3, *sizes], sizes, windows, strict=False)):
        weights[f"{prefix}.Conv_{i}.kernel"] = (
            torch.randn(after, before, k, k, generator=generator) / (before * k * k) ** 0.5
        )
        weights[f"{prefix}.Conv_{i}.bias"] = torch.zeros(after)
    return weights | {
        f"NetLinLayer_{i}.Conv_0.kernel": torch.rand(1, size, 1, 1, generator=generator) for i, size in enumerate(heads)
    }


@pytest.mark.parametrize("network", ["vgg", "alex"])
def test_equals_the_official_package(a_pair: Pair, networks: Path, network: str) -> None:
    lpips = LPIPS(network, load(f"lpips-{network}", networks))
    for case, official in zip(CASES, OFFICIAL[network], strict=True):
        a, b = a_pair(*case)
        assert lpips(a, b[0]).item() == pytest.approx(official, abs=1e-6)
        assert lpips(b, a[0]).item() == pytest.approx(official, abs=1e-6), "it is symmetric"


@pytest.mark.parametrize("network", ["vgg", "alex"])
def test_candidates_count_alone(network: str) -> None:
    lpips = LPIPS(network, random_weights(network))
    images = torch.rand(4, 3, 40, 56, generator=torch.Generator().manual_seed(1))
    together = lpips(images[:3], images[3])
    assert together.dtype == torch.float64
    assert (together > 1e-3).all()
    torch.testing.assert_close(
        together, torch.cat([lpips(image[None], images[3]) for image in images[:3]]), atol=1e-7, rtol=0
    )
    assert lpips(images[3:], images[3]).item() == 0


def test_what_cannot_be_compared() -> None:
    lpips = LPIPS("vgg", random_weights("vgg"))
    with pytest.raises(InputError, match="too small"):
        lpips(torch.rand(1, 3, 12, 40), torch.rand(3, 12, 40))
    with pytest.raises(InputError, match="NaN"):
        lpips(torch.full((1, 3, 40, 40), torch.nan), torch.rand(3, 40, 40))
