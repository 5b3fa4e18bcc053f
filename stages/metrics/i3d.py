"""I3D (Carreira and Zisserman 2017), the network whose features the Frechet video distance compares.

It classifies actions in RGB video and was trained on Kinetics-400. It is Inception v1 inflated to 3D: 3D convolutions
with TensorFlow's "SAME" padding and batch normalisation without scale. Weights: stages/metrics/network_files.py.
"""

import functools
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.errors import InputError

SIDE = 224  # width and height of the input, px
MIN_FRAMES = 9  # the last pooling needs two time steps, and nine frames are the fewest that give them
EPSILON = 1e-3  # added to the variance in batch normalisation

# Names of the Inception blocks of the third, fourth and fifth level. Poolings separate the levels.
BLOCKS_3, BLOCKS_4, BLOCKS_5 = ("3b", "3c"), ("4b", "4c", "4d", "4e", "4f"), ("5b", "5c")


class I3D:
    """The network with its weights, as stages.metrics.network_files.load returns them."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        # Batch normalisation becomes part of the convolution before it, which saves a pass over every feature map.
        self._convolutions: dict[str, tuple[Tensor, Tensor]] = {}
        for key, kernel in weights.items():
            if not key.endswith(".Conv_0.kernel"):
                continue
            name = key.removeprefix("params.").removesuffix(".Conv_0.kernel")
            if f"params.{name}.Conv_0.bias" in weights:
                self._convolutions[name] = (kernel, weights[f"params.{name}.Conv_0.bias"])
                continue
            mean, variance = (weights[f"batch_stats.{name}.BatchNorm_0.{key}"].flatten() for key in ("mean", "var"))
            gain = (variance + EPSILON).rsqrt()
            bias = weights[f"params.{name}.BatchNorm_0.bias"] - mean * gain
            self._convolutions[name] = (kernel * gain[:, None, None, None, None], bias)

    @torch.no_grad()
    def logits(self, clip: Tensor) -> Tensor:
        """The 400 class logits of a clip, averaged over time.

        clip: [T, 3, 224, 224] in [-1, 1], T >= 9.  Returns [400].
        """
        if clip.shape[1:] != (3, SIDE, SIDE) or len(clip) < MIN_FRAMES:
            why = f"a clip of {tuple(clip.shape)}"
            raise InputError("I3D cannot see the clip", why, f"give at least {MIN_FRAMES} frames of {SIDE} x {SIDE}")
        x = clip.float().transpose(0, 1)[None]
        x = _max_pool(self._convolve(x, "Conv3d_1a_7x7", 2), (1, 3, 3), (1, 2, 2))
        x = self._convolve(self._convolve(x, "Conv3d_2b_1x1"), "Conv3d_2c_3x3")
        x = _max_pool(x, (1, 3, 3), (1, 2, 2))
        x = _max_pool(self._inceptions(x, BLOCKS_3), (3, 3, 3), (2, 2, 2))
        x = _max_pool(self._inceptions(x, BLOCKS_4), (2, 2, 2), (2, 2, 2))
        x = self._inceptions(x, BLOCKS_5)
        x = F.avg_pool3d(x, (2, 7, 7), 1)
        return F.conv3d(x, *self._convolutions["Logits.Conv3d_0c_1x1"])[0, :, :, 0, 0].mean(1)

    def _convolve(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        kernel, bias = self._convolutions[name]
        padded = _pad_same(x, kernel.shape[2:], (stride,) * 3)
        return F.relu_(F.conv3d(padded, kernel, bias, stride=stride))

    def _inceptions(self, x: Tensor, names: Sequence[str]) -> Tensor:
        for name in names:
            pooled = _max_pool(x, (3, 3, 3), (1, 1, 1))
            branches = [
                self._branch(x, name, "Branch_0.Conv3d_0a_1x1"),
                self._branch(x, name, "Branch_1.Conv3d_0a_1x1", "Branch_1.Conv3d_0b_3x3"),
                self._branch(x, name, "Branch_2.Conv3d_0a_1x1", "Branch_2.Conv3d_0b_3x3"),
                self._branch(pooled, name, "Branch_3.Conv3d_0b_1x1"),
            ]
            x = torch.cat(branches, 1)
        return x

    def _branch(self, x: Tensor, block: str, *layers: str) -> Tensor:
        for layer in layers:
            x = self._convolve(x, f"Mixed_{block}.{layer}")
        return x


def _max_pool(x: Tensor, window: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """Max pooling of [N, C, T, h, w] with "SAME" padding, one dimension at a time: faster than F.max_pool3d."""
    x = _pad_same(x, window, stride)
    for dim, (k, s) in enumerate(zip(window, stride, strict=True), 2):
        reach = (x.shape[dim] - k) // s * s + 1
        windows = (x[(slice(None),) * dim + (slice(offset, offset + reach, s),)] for offset in range(k))
        x = functools.reduce(torch.maximum, windows)
    return x


def _pad_same(x: Tensor, window: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Pad [N, C, T, h, w] with zeros, so that a convolution or pooling returns ceil(size / stride) values.

    This is TensorFlow's "SAME" padding. An odd zero goes to the end. Zeros are right for max pooling too, because its
    inputs here are never negative.
    """
    padding: list[int] = []
    for size, k, s in zip(reversed(x.shape[2:]), reversed(window), reversed(stride), strict=True):
        total = max(0, (-(-size // s) - 1) * s + k - size)
        padding += [total // 2, total - total // 2]
    return F.pad(x, padding) if any(padding) else x
