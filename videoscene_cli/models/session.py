"""The device, the weights and the network of a command. Each is opened when first needed, once for a whole list."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from stages.errors import DeviceError
from stages.files.file_hashes import FileHashes
from videoscene_cli.models.gpu_renderer import load_renderer
from videoscene_cli.models.metric_networks import cache_folder
from videoscene_cli.models.weights_file import WeightsFile, find_weights
from videoscene_cli.terminal.options import Shared
from videoscene_cli.terminal.report import Report

if TYPE_CHECKING:
    import torch

    from stages.prior.network import MVSplat


class Session:
    """What a command computes with, as --device, --weights and --seed say, and its report."""

    def __init__(self, shared: Shared, report: Report) -> None:
        self.shared, self.report = shared, report
        self.hashes = FileHashes(cache_folder() / "hashes.json", read_large=not shared.dry_run)

    @cached_property
    def weights(self) -> WeightsFile:
        """The prior's weights, verified. Raises WeightsError."""
        return find_weights(self.shared.weights, "prior", self.hashes)

    @cached_property
    def device(self) -> torch.device:
        """The device on which networks run. Raises DeviceError when this machine does not have it."""
        import torch

        name, count = self.shared.device, torch.cuda.device_count() if torch.cuda.is_available() else 0
        if name == "auto":
            name = "cuda" if count else "cpu"
        device = torch.device(name)
        if device.type == "cuda" and (device.index or 0) >= count:
            have = f"this machine has {count} CUDA device{'' if count == 1 else 's'} that torch can use"
            hint = "use --device cpu" + (f" or cuda:0 to cuda:{count - 1}" if count else "")
            raise DeviceError(f"no device {name}", have, hint)
        if device.type == "mps" and not torch.backends.mps.is_available():
            raise DeviceError("no device mps", "torch finds no GPU of Apple here", "use --device cpu")
        return device

    @cached_property
    def home(self) -> torch.device:
        """The device of images and Gaussians: that of the networks, but the CPU for a GPU of Apple.

        That one has no float64, and no renderer. Raises DeviceError as `device` does.
        """
        import torch

        return torch.device("cpu") if self.device.type == "mps" else self.device

    def open_renderer(self) -> None:
        """Load the renderer of a GPU before any work: its kernels may first be compiled. Raises DeviceError."""
        if self.device.type == "cuda":
            load_renderer(self.device, self.report)

    def start(self) -> None:
        """Seed torch with --seed, and load the renderer of a GPU. Raises DeviceError.

        It is called before each result, so that a result does not depend on those before it in a list.
        """
        import torch

        torch.manual_seed(self.shared.seed)
        self.open_renderer()

    @cached_property
    def network(self) -> MVSplat:
        """The prior's network with its weights, on the device. Raises WeightsError, DeviceError."""
        from stages.prior.load import load_prior

        return load_prior(self.weights.path, self.device)
