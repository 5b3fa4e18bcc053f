"""Measures the standard deviations of the codec's bands over training clips.

python tests/tools/measure_codec.py SHARD...
"""

import sys
from pathlib import Path

import torch

from stages.distill.clip_shards import length, read
from stages.video.small_codec import BASIS, FRAMES, MIDDLE_GREY, SIDE, fold


def main(shards: list[Path]) -> None:
    """Print the table for stages/video/small_codec.py. The first latent frame is left out, because it is a still."""
    power, count = torch.zeros(2, FRAMES, 2 * SIDE - 1, dtype=torch.float64), torch.zeros(2, FRAMES, 2 * SIDE - 1)
    time, colour, row, column = (
        axis.flatten() for axis in torch.meshgrid(*(torch.arange(n) for n in (FRAMES, 3, SIDE, SIDE)), indexing="ij")
    )
    band = (colour.clamp_max(1), time, row + column)
    for path in shards:
        for index in range(length(path)):
            latent = fold(read(path, index).truth[None] / 255 - MIDDLE_GREY)[:, 1:] @ BASIS.T
            mean_square = latent.double().square().mean((0, 1, 2, 3))
            power.index_put_(band, mean_square, accumulate=True)
            count.index_put_(band, torch.ones(len(time)), accumulate=True)
    for table in (power / count).sqrt():
        print(
            "[",
            ", ".join("[" + ", ".join(f"{value:.3f}" for value in row) + "]" for row in table.tolist()),
            "]",
            sep="",
        )


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
