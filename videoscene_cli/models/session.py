"""The device, the weights and the network of a command. Each is opened when first needed, once for a whole list."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from stages.errors import DeviceError
from stages.files.file_hashes import FileHashes
from videoscene_cli.models.gpu_renderer import load_renderer
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
        self.hashes = FileHashes()

    @cached_property
    def weights(self) -> WeightsFile:
        """The prior's weights, verified. Raises WeightsError."""
        return find_weights(self.shared.weights, "prior")

    def seed(self) -> None:
        """Seed torch with --seed before each result, so that a result does not depend on those before it in a list."""
        import torch

        torch.manual_seed(self.shared.seed)

    @cached_property
    def device(self) -> torch.device:
        """The device of the computation. Raises DeviceError when this machine does not have it.

        On a GPU this also loads the renderer's kernels, before any work: the first time they are compiled, in minutes.
        """
        import torch

        name, count = self.shared.device, torch.cuda.device_count() if torch.cuda.is_available() else 0
        if name == "auto":
            name = "cuda" if count else "cpu"
        device = torch.device(name)
        if device.type == "cuda" and (device.index or 0) >= count:
            have = f"this machine has {count} CUDA device{'' if count == 1 else 's'} that torch can use"
            hint = "use --device cpu" + (f" or cuda:0 to cuda:{count - 1}" if count else "")
            raise DeviceError(f"no device {name}", have, hint)
        if device.type == "cuda":
            load_renderer(device, self.report)
        return device

    @cached_property
    def network(self) -> MVSplat:
        """The prior's network with its weights, on the device. Raises WeightsError, DeviceError."""
        from stages.prior.load import load_prior

        return load_prior(self.weights.path, self.device)
