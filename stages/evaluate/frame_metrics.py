"""The metrics of frames against the truth: those without a network, and those whose networks are installed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stages.evaluate.case_record import NOT_AVAILABLE
from stages.metrics.i3d import I3D
from stages.metrics.image import psnr, ssim
from stages.metrics.lpips import LPIPS
from stages.metrics.network_files import NETWORKS, load

Metric = Callable[[Tensor, Tensor], Tensor]
"""(candidates [M, 3, h, w], truth [3, h, w]) -> [M]: the versions of one frame by M methods, each against the truth."""

LPIPS_NETWORKS = {"lpips vgg": "lpips-vgg", "lpips alex": "lpips-alex"}  # metric -> name of its network
# VBench's dimensions whose networks cannot be obtained from package registries, with these networks. They are always
# reported as not available: no substitute takes their names.
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
    """Metrics of frames, in the order of the report.

    metrics: name -> metric, or None where its network is missing; the report then says "n/a".
    i3d: the network of the Frechet video distance, or None.
    """

    metrics: Mapping[str, Metric | None]
    i3d: I3D | None = None


def networks_at_hand(folder: Path) -> dict[str, str]:
    """For each network: the hash of its weights if FOLDER/NAME.safetensors exists, else "n/a". Opens no file."""
    return {
        name: network.content if (folder / f"{name}.safetensors").is_file() else NOT_AVAILABLE
        for name, network in NETWORKS.items()
    }


def open_instruments(folder: Path, device: torch.device) -> Instruments:
    """PSNR, SSIM, and the metrics whose networks are in `folder`, for frames on `device`.

    Raises WeightsError if a file is damaged.
    """
    networks = networks_at_hand(folder)
    metrics: dict[str, Metric | None] = {"psnr": _psnr, "ssim": _ssim}
    for name, network in LPIPS_NETWORKS.items():
        available = networks[network] != NOT_AVAILABLE
        kind = network.removeprefix("lpips-")
        metrics[name] = LPIPS(kind, load(network, folder, device=device)) if available else None
    i3d = None if networks["i3d"] == NOT_AVAILABLE else I3D(load("i3d", folder, device=device))
    return Instruments(metrics, i3d)
