"""The codec of `small`: a fixed orthonormal transform of blocks of 4 frames x 4 x 4 pixels.

Nothing is lost and nothing is learned. A block holds 3 colours x 4 x 4 x 4 values. The latent has as many channels, at
a quarter of the width and height. Along time, height and width the transform is the two-level Haar wavelet packet: four
patterns of +1 and -1, lowest frequency first. Across colours it is grey and two colour differences. Each band is
divided by its standard deviation over procedural clips, so that unit noise hides all bands equally.

As in CogVideoX the first frame stands alone. Four copies of it fill a block, and only the lowest temporal band of that
block is not zero.
"""

import functools

import torch
from torch import Tensor

FRAMES, SIDE = 4, 4  # size of a block: frames, and pixels along width and height
CHANNELS = 3 * FRAMES * SIDE * SIDE  # channels of the latent: 192
STILL = 3 * SIDE * SIDE  # channels of the lowest temporal band. They come first, and a single image fills no others.
MIDDLE_GREY = 0.5  # value that is subtracted from all colours, so that the lowest band is centred

# Rows are sorted by their number of sign changes.
HAAR = torch.tensor([[1.0, 1, 1, 1], [1, 1, -1, -1], [1, -1, -1, 1], [1, -1, 1, -1]], dtype=torch.float64) / 2
COLOUR_BASIS = torch.tensor([[1.0, 1, 1], [1, 0, -1], [1, -2, 1]], dtype=torch.float64)
COLOUR_BASIS = COLOUR_BASIS / COLOUR_BASIS.norm(dim=1, keepdim=True)

# Standard deviation of each band over 24 clips of procedural worlds (measured by tests/tools/measure_codec.py).
# Indices: [grey, colour difference][temporal band][row band + column band].
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


# The transform's matrix, [192, 192]. Rows are channels: temporal band, then colour, row band, column band. Columns are
# values of a block: frame, colour, row, column.
BASIS = torch.kron(HAAR, torch.kron(COLOUR_BASIS, torch.kron(HAAR, HAAR))).float()
# The standard deviation of each channel, [192].
_time, _colour, _row, _column = torch.meshgrid(*(torch.arange(n) for n in (FRAMES, 3, SIDE, SIDE)), indexing="ij")
DEVIATION = DEVIATIONS[_colour.clamp_max(1), _time, _row + _column].flatten()


@functools.cache
def _matrices(device: torch.device) -> tuple[Tensor, Tensor]:
    """BASIS, and DEVIATION as a column, on a device. A GPU gets them only once."""
    return BASIS.to(device), DEVIATION.to(device)[:, None]


def latent_frames(frames: int) -> int:
    """Latent frames of a clip of 4k + 1 frames: k + 1. Raises ValueError for other numbers."""
    if frames % FRAMES != 1:
        raise ValueError(f"{frames} frames are not 4k + 1")
    return frames // FRAMES + 1


def encode(frames: Tensor) -> Tensor:
    """The latent of a clip or, with F = 1, of a single image.

    frames: [B, F, 3, h, w] in [0, 1], F = 4k + 1, sides multiples of 4.  Returns [B, k + 1, 192, h/4, w/4], float32.
    """
    latent_frames(frames.shape[1])
    return encode_blocks(_filled(frames))


def encode_blocks(frames: Tensor) -> Tensor:
    """The latent of whole blocks: [B, 4T, 3, h, w] -> [B, T, 192, h/4, w/4], float32."""
    blocks = _fold_blocks(frames.float() - MIDDLE_GREY)
    return torch.einsum("bthwk,ck->btchw", blocks, encoding(frames.device))


def encoding(device: torch.device) -> Tensor:
    """The matrix [192, 192] that takes the values of a block, less MIDDLE_GREY, to the channels of the latent."""
    basis, deviation = _matrices(device)
    return basis / deviation


def decode(latent: Tensor) -> Tensor:
    """The clip of a latent [B, T, 192, H, W]: [B, 4T - 3, 3, 4H, 4W], float32, not clamped.

    Only the lowest temporal band of the first latent frame counts.
    """
    basis, deviation = _matrices(latent.device)
    return unfold(torch.einsum("btchw,ck->bthwk", latent.float(), basis * deviation)) + MIDDLE_GREY


def fold(frames: Tensor) -> Tensor:
    """Gather the values of each block. frames: [B, F, C, h, w], F = 4k + 1.

    Returns [B, k + 1, h/4, w/4, 4 * C * 4 * 4]; the last axis runs over frame, channel, row, column.
    """
    latent_frames(frames.shape[1])
    return _fold_blocks(_filled(frames))


def _filled(frames: Tensor) -> Tensor:
    """Four copies of the first frame, which stands alone, then the others. frames: [B, F, ...]."""
    return torch.cat([frames[:, :1].expand(-1, FRAMES, *frames.shape[2:]), frames[:, 1:]], 1)


def _fold_blocks(frames: Tensor) -> Tensor:
    """`fold` for whole blocks: frames are [B, 4T, C, h, w]."""
    b, f, c, h, w = frames.shape
    if h % SIDE or w % SIDE:
        raise ValueError(f"sides {h} x {w} are not multiples of {SIDE}")
    blocks = frames.reshape(b, f // FRAMES, FRAMES, c, h // SIDE, SIDE, w // SIDE, SIDE).permute(0, 1, 4, 6, 2, 3, 5, 7)
    return blocks.reshape(b, f // FRAMES, h // SIDE, w // SIDE, FRAMES * c * SIDE * SIDE)


def unfold(blocks: Tensor) -> Tensor:
    """Undo `fold`: [B, T, H, W, 4 * C * 4 * 4] -> [B, 4T - 3, C, 4H, 4W].

    The first frame is the mean of the four in its block.
    """
    b, t, h, w, k = blocks.shape
    c = k // (FRAMES * SIDE * SIDE)
    pixels = blocks.reshape(b, t, h, w, FRAMES, c, SIDE, SIDE).permute(0, 1, 4, 5, 2, 6, 3, 7)
    padded = pixels.reshape(b, t, FRAMES, c, h * SIDE, w * SIDE)
    return torch.cat([padded[:, 0].mean(1, keepdim=True), padded[:, 1:].flatten(1, 2)], 1)
