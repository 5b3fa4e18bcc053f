"""EfficientNet-Lite (Tan and Le 2019, without squeeze-and-excitation, with ReLU6), which was trained on ImageNet.

Here it has no batch norms. `fold_batch_norms` folds those of a published checkpoint into the convolutions.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from stages.errors import WeightsError
from stages.files.weight_tensors import read_pickled, require_keys

EPSILON = 1e-3  # added to the variance in the published batch norms
# Input normalisation: the published networks were trained on (pixel - 127) / 128.
MEAN, SCALE = 127.0 / 255.0, 255.0 / 128.0

# Repeats, kernel, stride, expansion and output channels of each stage of the base network (Tan and Le 2019, Table 1).
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM = 32  # output channels of the first convolution
TAPS = (0, 1, 2, 4, 6)  # stages whose outputs are the features at 1/2, 1/4, 1/8, 1/16 and 1/32 of the image's size


@dataclass(frozen=True)
class EncoderConfig:
    """Multipliers of the base network's widths and repeats: Lite0 is (1.0, 1.0), Lite1 (1.0, 1.1), Lite2 (1.1, 1.2)."""

    width: float
    depth: float

    def stages(self) -> list[tuple[int, int, int, int, int]]:
        """`STAGES` with widths rounded to multiples of 8; the first and the last stage keep their repeats."""
        scaled = []
        for index, (repeats, kernel, stride, expansion, channels) in enumerate(STAGES):
            if 0 < index < len(STAGES) - 1:
                repeats = math.ceil(repeats * self.depth)
            scaled.append((repeats, kernel, stride, expansion, _round_width(channels, self.width)))
        return scaled

    @property
    def tapped_channels(self) -> tuple[int, ...]:
        """Channels of the features at 1/2, 1/4, 1/8, 1/16 and 1/32 of the image's size."""
        stages = self.stages()
        return tuple(stages[index][4] for index in TAPS)


class InvertedResidual(nn.Module):
    """Widen by a 1 x 1 convolution, filter each channel, narrow again. The input is added if it has the same shape."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = nn.Conv2d(inputs, hidden, 1) if expansion > 1 else nn.Identity()
        self.depthwise = SameConv2d(hidden, hidden, kernel, stride, groups=hidden)
        self.project = nn.Conv2d(hidden, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = x if isinstance(self.expand, nn.Identity) else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.residual else y


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: if the total is odd, the lower or right side gets one more."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2 if stride == 1 else 0, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride > 1:
            total = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[-2:]]
            x = F.pad(x, (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2))
        return super().forward(x)


class EfficientNetLite(nn.Module):
    """Images [N, 3, H, W], sRGB in [0, 1], sides multiples of 32 -> features [N, C, H/s, W/s], s = 2, 4, 8, 16, 32."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.stem = SameConv2d(3, STEM, 3, 2)
        self.stages = nn.ModuleList()
        channels = STEM
        for repeats, kernel, stride, expansion, outputs in config.stages():
            blocks = []
            for index in range(repeats):
                blocks.append(InvertedResidual(channels, outputs, kernel, stride if index == 0 else 1, expansion))
                channels = outputs
            self.stages.append(nn.Sequential(*blocks))

    def forward(self, images: Tensor) -> list[Tensor]:
        x = F.relu6(self.stem((images - MEAN) * SCALE))
        features = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in TAPS:
                features.append(x)
        return features


def fold_batch_norms(checkpoint: Mapping[str, Tensor], network: EfficientNetLite) -> dict[str, Tensor]:
    """The state of `network` from a published checkpoint (keys `_conv_stem`, `_bn0`, `_blocks.N._expand_conv`, ...).

    A convolution w and the batch norm after it become one convolution w * g with bias b - mean * g, where
    g = gamma / sqrt(var + eps). Raises KeyError when the checkpoint lacks a tensor.
    """
    state = {}

    def put(name: str, convolution: str, norm: str) -> None:
        gain = checkpoint[f"{norm}.weight"] / (checkpoint[f"{norm}.running_var"] + EPSILON).sqrt()
        state[f"{name}.weight"] = checkpoint[f"{convolution}.weight"] * gain[:, None, None, None]
        state[f"{name}.bias"] = checkpoint[f"{norm}.bias"] - checkpoint[f"{norm}.running_mean"] * gain

    put("stem", "_conv_stem", "_bn0")
    number = 0
    for stage_index, stage in enumerate(network.stages):
        assert isinstance(stage, nn.Sequential)
        for block_index, block in enumerate(stage):
            ours, theirs = f"stages.{stage_index}.{block_index}", f"_blocks.{number}"
            if not isinstance(block.expand, nn.Identity):
                put(f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0")
            put(f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1")
            put(f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2")
            number += 1
    return state


def _round_width(channels: int, multiplier: float) -> int:
    """The multiple of 8 nearest to channels * multiplier, not less than 90 % of it."""
    exact = channels * multiplier
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


def load_imagenet(path: Path, network: EfficientNetLite) -> None:
    """Put the weights of a published checkpoint into `network`. Runs none of its code. Raises WeightsError."""
    what, hint = f"cannot use the encoder {path}", "give the published checkpoint of EfficientNet-Lite2"
    checkpoint = read_pickled(path)
    if not isinstance(checkpoint, dict) or not all(isinstance(value, Tensor) for value in checkpoint.values()):
        raise WeightsError(what, "it holds no tensors by name", hint)
    try:
        state = fold_batch_norms(checkpoint, network)
    except KeyError as error:
        raise WeightsError(what, f"{error.args[0]} is missing", hint) from error
    require_keys(network.state_dict(), state, what, hint)
    network.load_state_dict(state)
