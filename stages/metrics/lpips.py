"""LPIPS version 0.1, the learned perceptual distance of images (Zhang et al. 2018), on VGG16 or AlexNet features.

It is the weighted squared difference of unit-normalised features, averaged over pixels and summed over five layers.
Values equal those of the official package `lpips` (tests/metrics/test_lpips.py). network_files.py loads the weights.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.errors import InputError
from stages.metrics.image import check_frames

# Shift and scale of red, green and blue in the networks' input, for images in [-1, 1] (lpips.ScalingLayer).
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)

# The layers before each of the five feature maps. A number is a convolution with that stride, "pool" is a max pooling.
VGG16: Sequence[Sequence[int | str]] = [(1, 1), ("pool", 1, 1), ("pool", 1, 1, 1), ("pool", 1, 1, 1), ("pool", 1, 1, 1)]
ALEXNET: Sequence[Sequence[int | str]] = [(4,), ("pool", 1), ("pool", 1), (1,), (1,)]
POOL = {"vgg": (2, 2), "alex": (3, 2)}  # window and stride of the max pooling, px


class LPIPS:
    """The distance with one of the two networks.

    network: "vgg" or "alex".  weights: as stages.metrics.network_files.load returns them.
    """

    def __init__(self, network: str, weights: Mapping[str, Tensor]) -> None:
        prefix = {"vgg": "VGG16_0", "alex": "AlexNet_0"}[network]
        self._blocks = {"vgg": VGG16, "alex": ALEXNET}[network]
        self._pool = POOL[network]
        count = sum(layer != "pool" for block in self._blocks for layer in block)
        layers = [(weights[f"{prefix}.Conv_{i}.kernel"], weights[f"{prefix}.Conv_{i}.bias"]) for i in range(count)]
        # Kernels with channels last in memory are a fifth faster on a CPU, and values change by less than 1e-8.
        self._kernels = [(kernel.contiguous(memory_format=torch.channels_last), bias) for kernel, bias in layers]
        self._heads = [weights[f"NetLinLayer_{i}.Conv_0.kernel"] for i in range(len(self._blocks))]

    @torch.no_grad()
    def __call__(self, candidates: Tensor, truth: Tensor) -> Tensor:
        """Distance of each candidate image to one true image.

        candidates: [M, 3, h, w] in [0, 1].  truth: [3, h, w].  Returns [M], float64.
        Raises InputError if they cannot be compared or are too small for the network.
        """
        check_frames(candidates, truth.expand_as(candidates))
        reference = self.features(truth)
        return torch.stack([self.distance(self.features(candidate), reference) for candidate in candidates])

    def features(self, image: Tensor) -> list[Tensor]:
        """The five unit-normalised feature maps [C, h', w'] of one image [3, h, w] in [0, 1]."""
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
        """Distance of two images, given their feature maps; a scalar, float64."""
        layers = zip(a, b, self._heads, strict=True)
        distances = [F.conv2d((x - y).square()[None], head).double().mean() for x, y, head in layers]
        return torch.stack(distances).sum()

    def _pooled(self, x: Tensor) -> Tensor:
        if min(x.shape[-2:]) < self._pool[0]:
            why = "the frames are too small for its network"
            raise InputError("LPIPS is not defined", why, "give sides of at least 32 pixels")
        return F.max_pool2d(x, *self._pool)
