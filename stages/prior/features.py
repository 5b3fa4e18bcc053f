"""Image features: a small residual CNN at a quarter of the image's size (MVSplat, Chen et al. 2024, section 3.1)."""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.prior.config import PriorConfig

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def instance_norm(x: Tensor) -> Tensor:
    """Instance normalisation without parameters.

    It is computed as group normalisation with one channel per group, for which torch keeps the channels_last layout.
    """
    return F.group_norm(x, x.shape[1])


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with instance norm and ReLU, plus the input.

    halving: whether the block halves the map.  centred: halve with a 4 x 4 kernel and a 2 x 2 shortcut, so that cell i
    lies midway between pixels 2i and 2i + 1. Otherwise the kernels are upstream's, 3 x 3 and 1 x 1.
    """

    def __init__(self, inputs: int, outputs: int, halving: bool, centred: bool) -> None:
        super().__init__()
        stride = 2 if halving else 1
        even = halving and centred
        self.conv1 = nn.Conv2d(inputs, outputs, 4 if even else 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        same = inputs == outputs and not halving
        self.downsample = nn.Identity() if same else nn.Sequential(nn.Conv2d(inputs, outputs, 2 if even else 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(instance_norm(self.conv1(x)))
        y = F.relu(instance_norm(self.conv2(y)))
        shortcut = x if isinstance(self.downsample, nn.Identity) else instance_norm(self.downsample(x))
        return F.relu(shortcut + y)


class FeatureCNN(nn.Module):
    """Images [N, 3, H, W] in [0, 1] -> features [N, C, H/4, W/4]."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        first, second, third = config.cnn_channels
        centred = config.depth_convention == "z"
        kernel, padding = (6, 2) if centred else (7, 3)
        self.conv1 = nn.Conv2d(3, first, kernel, 2, padding, bias=False)
        block = functools.partial(ResidualBlock, centred=centred)
        self.layer1 = nn.Sequential(block(first, first, False), block(first, first, False))
        self.layer2 = nn.Sequential(block(first, second, True), block(second, second, False))
        self.layer3 = nn.Sequential(block(second, third, False), block(third, third, False))
        self.conv2 = nn.Conv2d(third, config.feature_channels, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        mean, std = images.new_tensor(IMAGENET_MEAN), images.new_tensor(IMAGENET_STD)
        x = (images - mean[:, None, None]) / std[:, None, None]
        x = F.relu(instance_norm(self.conv1(x.contiguous(memory_format=torch.channels_last))))  # H/2
        x = self.layer3(self.layer2(self.layer1(x)))  # H/4
        return self.conv2(x)
