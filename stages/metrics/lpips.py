"""LPIPS 0.1, the learned perceptual distance (Zhang et al. 2018), on VGG16 or AlexNet features.

The distance of two images is the weighted squared difference of their unit-normalised features, averaged over pixels, summed over five
layers. Weights: stages/metrics/network_files.py. The figures equal those of the official `lpips` package (tests/metrics/test_lpips.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.errors import InputError
from stages.metrics.image import check_frames

# The networks' input normalisation, for images in [-1, 1].
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)

# Layers before each of the five feature maps: a number is a convolution of that stride, "pool" a max pooling.
VGG16: Sequence[Sequence[int | str]] = [(1, 1), ("pool", 1, 1), ("pool", 1, 1, 1), ("pool", 1, 1, 1), ("pool", 1, 1, 1)]
ALEXNET: Sequence[Sequence[int | str]] = [(4,), ("pool", 1), ("pool", 1), (1,), (1,)]
POOL = {"vgg": (2, 2), "alex": (3, 2)}  # window and stride


class LPIPS:
    """The distance with one of the two networks.

    network: "vgg" or "alex".  weights: as stages.metrics.network_files.load gives them.
    """

    def __init__(self, network: str, weights: Mapping[str, Tensor]) -> None:
        prefix = {"vgg": "VGG16_0", "alex": "AlexNet_0"}[network]
        self._blocks = {"vgg": VGG16, "alex": ALEXNET}[network]
        self._pool = POOL[network]
        count = sum(layer != "pool" for block in self._blocks for layer in block)
        layers = [(weights[f"{prefix}.Conv_{i}.kernel"], weights[f"{prefix}.Conv_{i}.bias"]) for i in range(count)]
        # Channels last in memory: a fifth faster on a CPU, and the figures stay within 1e-8.
        self._kernels = [(kernel.contiguous(memory_format=torch.channels_last), bias) for kernel, bias in layers]
        self._heads = [weights[f"NetLinLayer_{i}.Conv_0.kernel"] for i in range(len(self._blocks))]

    @torch.no_grad()
    def __call__(self, candidates: Tensor, truth: Tensor) -> Tensor:
        """Distance of each candidate to one truth.

        candidates: [M, 3, h, w] in [0, 1].  truth: [3, h, w].  Returns [M], float64.  The truth's features are computed once.
        Raises InputError if they cannot be compared or are too small for the network.
        """
        check_frames(candidates, truth.expand_as(candidates))
        reference = self.features(truth)
        return torch.stack([self.distance(self.features(candidate), reference) for candidate in candidates])

    def features(self, image: Tensor) -> list[Tensor]:
        """Unit-normalised feature maps of one image [3, h, w] in [0, 1], five of [C, h', w']."""
        shift, scale = (image.new_tensor(value)[:, None, None] for value in (SHIFT, SCALE))
        x = ((2 * image - 1 - shift) / scale)[None].float()
        maps, kernels = [], iter(self._kernels)
        for block in self._blocks:
            for layer in block:
                if isinstance(layer, str):
                    x = self._pooled(x)
                else:
                    kernel, bias = next(kernels)
                    x = F.relu_(F.conv2d(x, kernel, bias, stride=layer, padding=min(kernel.shape[-1] // 2, 2)))
            maps.append((x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))[0])
        return maps

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Distance of two images by their feature maps, a scalar, float64."""
        layers = [F.conv2d((x - y).square()[None], head).double().mean() for x, y, head in zip(a, b, self._heads, strict=True)]
        return torch.stack(layers).sum()

    def _pooled(self, x: Tensor) -> Tensor:
        if min(x.shape[-2:]) < self._pool[0]:
            raise InputError("LPIPS is not defined", "the frames are too small for its network", "give at least 32 pixels a side")
        return F.max_pool2d(x, *self._pool)
