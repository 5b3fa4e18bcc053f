"""The encoder: features of the sizes it promises, and batch norms that are folded in exactly."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from stages.prior.efficientnet import (
    EPSILON,
    MEAN,
    SCALE,
    EfficientNetLite,
    EncoderConfig,
    SameConv2d,
    fold_batch_norms,
)

LITE0, LITE2 = EncoderConfig(1.0, 1.0), EncoderConfig(1.1, 1.2)


def published(network: EfficientNetLite, generator: Generator) -> dict[str, Tensor]:
    """A checkpoint of the published form with random weights for a network of ours."""
    checkpoint: dict[str, Tensor] = {}

    def put(convolution: str, norm: str, like: Tensor) -> None:
        channels = like.shape[0]
        fan = like[0].numel()
        checkpoint[f"{convolution}.weight"] = torch.randn(like.shape, generator=generator) / fan**0.5
        checkpoint[f"{norm}.weight"] = 0.5 + torch.rand(channels, generator=generator)
        checkpoint[f"{norm}.bias"] = 0.2 * torch.randn(channels, generator=generator)
        checkpoint[f"{norm}.running_mean"] = 0.2 * torch.randn(channels, generator=generator)
        checkpoint[f"{norm}.running_var"] = 0.5 + torch.rand(channels, generator=generator)

    put("_conv_stem", "_bn0", network.stem.weight)
    blocks = [block for stage in network.stages for block in stage]  # type: ignore[attr-defined]
    for number, block in enumerate(blocks):
        if not isinstance(block.expand, torch.nn.Identity):
            put(f"_blocks.{number}._expand_conv", f"_blocks.{number}._bn0", block.expand.weight)
        put(f"_blocks.{number}._depthwise_conv", f"_blocks.{number}._bn1", block.depthwise.weight)
        put(f"_blocks.{number}._project_conv", f"_blocks.{number}._bn2", block.project.weight)
    return checkpoint


def test_features_have_the_sizes_and_channels_of_their_level() -> None:
    torch.manual_seed(0)
    network = EfficientNetLite(LITE2)
    features = network(torch.rand(2, 3, 64, 96))
    assert [tuple(f.shape) for f in features] == [
        (2, channels, 64 // factor, 96 // factor)
        for channels, factor in zip(LITE2.tapped_channels, (2, 4, 8, 16, 32), strict=True)
    ]
    assert LITE2.tapped_channels == (16, 24, 48, 120, 352)
    assert LITE0.tapped_channels == (16, 24, 40, 112, 320)


def test_folded_weights_compute_what_convolution_and_norm_compute() -> None:
    """The stem and the first two blocks, against convolutions and batch norms one after the other, in float64."""
    torch.manual_seed(0)
    network = EfficientNetLite(LITE0)
    checkpoint = published(network, Generator().manual_seed(1))
    network.load_state_dict(fold_batch_norms(checkpoint, network))
    image = torch.rand(1, 3, 32, 32, generator=Generator().manual_seed(2)).double()

    def normed(x: Tensor, convolution: str, norm: str, **options: int) -> Tensor:
        x = F.conv2d(x, checkpoint[f"{convolution}.weight"].double(), **options)
        mean, variance, weight, bias = (
            checkpoint[f"{norm}.{name}"].double() for name in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, variance, weight, bias, eps=EPSILON)

    x = F.relu6(normed(F.pad((image - MEAN) * SCALE, (0, 1, 0, 1)), "_conv_stem", "_bn0", stride=2))
    x = F.relu6(normed(x, "_blocks.0._depthwise_conv", "_blocks.0._bn1", padding=1, groups=32))
    x = normed(x, "_blocks.0._project_conv", "_blocks.0._bn2")
    first = x
    x = F.relu6(normed(x, "_blocks.1._expand_conv", "_blocks.1._bn0"))
    x = F.relu6(normed(F.pad(x, (0, 1, 0, 1)), "_blocks.1._depthwise_conv", "_blocks.1._bn1", stride=2, groups=96))
    x = normed(x, "_blocks.1._project_conv", "_blocks.1._bn2")

    features = network.double()(image)
    torch.testing.assert_close(features[0], first, rtol=1e-5, atol=1e-5)
    second = network.stages[1][0](features[0])  # type: ignore[index]
    torch.testing.assert_close(second, x, rtol=1e-5, atol=1e-5)


def test_even_sides_are_padded_at_the_right_and_below() -> None:
    """TensorFlow's "same" padding: with stride 2 an even side gets its odd row of zeros at the end."""
    convolution = SameConv2d(1, 1, 3, 2)
    with torch.no_grad():
        convolution.weight.zero_()
        convolution.weight[0, 0, 0, 0] = 1.0  # takes the upper left pixel of each window
        convolution.bias.zero_()  # type: ignore[union-attr]
    image = torch.arange(16.0).view(1, 1, 4, 4)
    assert convolution(image).tolist() == [[[[0.0, 2.0], [8.0, 10.0]]]]
