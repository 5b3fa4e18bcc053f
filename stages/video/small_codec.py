"""The codec of `small`: an orthonormal transform of blocks of 4 frames x 4 x 4 pixels, so that nothing is lost and nothing is learned.

A block is 3 colours x 4 x 4 x 4 values; the latent has as many channels, at a quarter of the sides. Along time, rows and columns it is the
two-level Haar wavelet packet (all sixteen-fold products of +1 and -1, lowest frequency first), across colours one of grey and two
differences. Each band is divided by its standard deviation over procedural clips, so that noise of unit variance hides all alike.

As in CogVideoX the first frame stands alone: it fills a block with four copies of itself, whose temporal bands but the lowest are zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

FRAMES, SIDE = 4, 4  # of a block
CHANNELS = 3 * FRAMES * SIDE * SIDE
STILL = 3 * SIDE * SIDE  # channels that come first and are all that a single image fills: the lowest temporal band
GREY = 0.5  # what the lowest band is measured from

# Rows by sequency, the number of changes of sign.
HAAR = torch.tensor([[1.0, 1, 1, 1], [1, 1, -1, -1], [1, -1, -1, 1], [1, -1, 1, -1]], dtype=torch.float64) / 2
COLOURS = torch.tensor([[1.0, 1, 1], [1, 0, -1], [1, -2, 1]], dtype=torch.float64)
COLOURS = COLOURS / COLOURS.norm(dim=1, keepdim=True)

# Standard deviations, [grey, difference][temporal band][row band + column band], over 24 clips of worlds (tests/tools/measure_codec.py).
DEVIATIONS = torch.tensor(
    [
        [
            [3.428, 0.336, 0.134, 0.120, 0.052, 0.035, 0.032],
            [0.509, 0.209, 0.111, 0.082, 0.045, 0.033, 0.028],
            [0.280, 0.154, 0.092, 0.065, 0.039, 0.029, 0.025],
            [0.260, 0.136, 0.085, 0.061, 0.037, 0.029, 0.025],
        ],
        [
            [0.923, 0.118, 0.045, 0.043, 0.018, 0.012, 0.011],
            [0.211, 0.079, 0.038, 0.030, 0.016, 0.011, 0.010],
            [0.119, 0.060, 0.033, 0.024, 0.014, 0.010, 0.009],
            [0.108, 0.052, 0.031, 0.023, 0.013, 0.010, 0.009],
        ],
    ]
)


def _basis() -> Tensor:
    """[192, 192], a row a channel: temporal band, then colour, row band, column band; columns are frame, colour, row, column."""
    matrix = torch.kron(HAAR, torch.kron(COLOURS, torch.kron(HAAR, HAAR)))
    return matrix.float()


def _deviations() -> Tensor:
    """The standard deviation of each channel, [192]."""
    time, colour, row, column = torch.meshgrid(*(torch.arange(n) for n in (FRAMES, 3, SIDE, SIDE)), indexing="ij")
    return DEVIATIONS[colour.clamp_max(1), time, row + column].flatten()


BASIS, DEVIATION = _basis(), _deviations()


def latent_frames(frames: int) -> int:
    """Latent frames of a clip of 4k + 1 frames: k + 1. Raises ValueError for other numbers."""
    if frames % FRAMES != 1:
        raise ValueError(f"{frames} frames are not 4k + 1")
    return frames // FRAMES + 1


def encode(frames: Tensor) -> Tensor:
    """The latent of a clip or, with F = 1, of an image.

    frames: [B, F, 3, h, w] in [0, 1], F = 4k + 1, sides multiples of 4.  Returns [B, k + 1, 192, h/4, w/4], float32.
    """
    blocks = fold(frames.float() - GREY)
    rows = BASIS.to(frames.device) / DEVIATION.to(frames.device)[:, None]
    return torch.einsum("bthwk,ck->btchw", blocks, rows)


def decode(latent: Tensor) -> Tensor:
    """The clip of a latent [B, T, 192, H, W]: [B, 4T - 3, 3, 4H, 4W], float32, not clamped.

    Of the first latent frame only the lowest temporal band counts.
    """
    columns = BASIS.to(latent.device) * DEVIATION.to(latent.device)[:, None]
    return unfold(torch.einsum("btchw,ck->bthwk", latent.float(), columns)) + GREY


def fold(frames: Tensor) -> Tensor:
    """Gather blocks. frames: [B, F, C, h, w], F = 4k + 1.  Returns [B, k + 1, h/4, w/4, 4 C 4 4]: frame, channel, row, column."""
    b, f, c, h, w = frames.shape
    t = latent_frames(f)
    if h % SIDE or w % SIDE:
        raise ValueError(f"sides {h} x {w} are not multiples of {SIDE}")
    whole = torch.cat([frames[:, :1].expand(-1, FRAMES, -1, -1, -1), frames[:, 1:]], 1)
    blocks = whole.reshape(b, t, FRAMES, c, h // SIDE, SIDE, w // SIDE, SIDE).permute(0, 1, 4, 6, 2, 3, 5, 7)
    return blocks.reshape(b, t, h // SIDE, w // SIDE, FRAMES * c * SIDE * SIDE)


def unfold(blocks: Tensor) -> Tensor:
    """Undo `fold`; the first frame is the mean of its block's four. [B, T, H, W, 4 C 4 4] -> [B, 4T - 3, C, 4H, 4W]."""
    b, t, h, w, k = blocks.shape
    c = k // (FRAMES * SIDE * SIDE)
    whole = blocks.reshape(b, t, h, w, FRAMES, c, SIDE, SIDE).permute(0, 1, 4, 5, 2, 6, 3, 7).reshape(b, t, FRAMES, c, h * SIDE, w * SIDE)
    return torch.cat([whole[:, 0].mean(1, keepdim=True), whole[:, 1:].flatten(1, 2)], 1)
