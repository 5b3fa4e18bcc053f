"""What to measure frames against the truth with: metrics that need no network, and those whose networks are at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from stages.metrics.i3d import I3D
from stages.metrics.image import psnr, ssim
from stages.metrics.lpips import LPIPS
from stages.metrics.network_files import NETWORKS, load

# (candidates [M, 3, h, w], truth [3, h, w]) -> [M]: several methods' versions of one frame against that frame.
Metric = Callable[[Tensor, Tensor], Tensor]

LPIPS_NETWORKS = {"lpips vgg": "lpips-vgg", "lpips alex": "lpips-alex"}
NOT_AVAILABLE = "n/a"
# VBench's dimensions whose networks cannot be had with this package, and these networks. Nothing else goes by their names.
VBENCH = {
    "subject consistency": "DINO ViT-B/16",
    "background consistency": "CLIP ViT-B/32",
    "motion smoothness": "AMT-S",
    "aesthetic quality": "CLIP ViT-L/14 with LAION's aesthetic head",
    "imaging quality": "MUSIQ (SPAQ)",
}


def _psnr(candidates: Tensor, truth: Tensor) -> Tensor:
    return psnr(candidates, truth.expand_as(candidates))


def _ssim(candidates: Tensor, truth: Tensor) -> Tensor:
    return ssim(candidates, truth.expand_as(candidates))


@dataclass(frozen=True)
class Instruments:
    """Metrics of frames, in the order in which they are told.

    metrics: name -> metric, or None where its network is not at hand, which is told as "n/a".
    i3d: the network of the Frechet video distance, or None.
    """

    metrics: Mapping[str, Metric | None] = field(default_factory=lambda: {"psnr": _psnr, "ssim": _ssim} | dict.fromkeys(LPIPS_NETWORKS))
    i3d: I3D | None = None


def networks_at_hand(folder: Path) -> dict[str, str]:
    """Network -> hash of its weights if FOLDER/NAME.safetensors is there, else "n/a". Reads nothing."""
    return {name: network.content if (folder / f"{name}.safetensors").is_file() else NOT_AVAILABLE for name, network in NETWORKS.items()}


def open_instruments(folder: Path) -> Instruments:
    """Instruments with the networks whose weights lie in `folder`. Raises WeightsError if one of them is damaged."""
    networks = networks_at_hand(folder)
    metrics: dict[str, Metric | None] = {"psnr": _psnr, "ssim": _ssim}
    for name, network in LPIPS_NETWORKS.items():
        available = networks[network] != NOT_AVAILABLE
        metrics[name] = LPIPS(network.removeprefix("lpips-"), load(network, folder)) if available else None
    i3d = None if networks["i3d"] == NOT_AVAILABLE else I3D(load("i3d", folder))
    return Instruments(metrics, i3d)
