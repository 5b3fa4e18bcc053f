"""The codec. Latents reach 200, where float32 numbers are 1.5e-5 apart and sums depend on the clip's length."""

import pytest
import torch

from stages.video.small_codec import BASIS, CHANNELS, DEVIATION, STILL, decode, encode, fold, latent_frames, unfold

# The largest difference seen was 9e-5, in 300 random clips with each of three instruction sets.
ROUNDING = 1e-3


@pytest.mark.parametrize(("frames", "size"), [(1, (8, 8)), (5, (24, 16)), (17, (16, 40))])
def test_nothing_is_lost(frames: int, size: tuple[int, int]) -> None:
    clip = torch.rand(2, frames, 3, *size)
    latent = encode(clip)
    assert latent.shape == (2, (frames - 1) // 4 + 1, CHANNELS, size[0] // 4, size[1] // 4)
    torch.testing.assert_close(decode(latent), clip, atol=1e-5, rtol=0)


def test_the_basis_is_orthonormal() -> None:
    torch.testing.assert_close(BASIS @ BASIS.T, torch.eye(CHANNELS), atol=1e-5, rtol=0)
    assert bool((DEVIATION > 0).all())


def test_a_still_fills_the_lowest_temporal_band_alone() -> None:
    image = torch.rand(1, 1, 3, 8, 8)
    assert float(encode(image)[:, :, STILL:].abs().max()) < ROUNDING
    clip = image.expand(-1, 9, -1, -1, -1)
    torch.testing.assert_close(encode(clip), encode(image).expand(-1, 3, -1, -1, -1), atol=ROUNDING, rtol=0)


def test_the_first_latent_frame_is_the_first_frame_alone() -> None:
    clip = torch.rand(1, 9, 3, 8, 8)
    latent = encode(clip)
    torch.testing.assert_close(latent[:, :1], encode(clip[:, :1]), atol=ROUNDING, rtol=0)
    changed = clip.clone()
    changed[:, 5:] = 0
    torch.testing.assert_close(encode(changed)[:, :2], latent[:, :2], atol=ROUNDING, rtol=0)
    assert not torch.allclose(encode(changed)[:, 2], latent[:, 2], atol=1, rtol=0)


def test_grey_is_the_middle_of_the_latent() -> None:
    torch.testing.assert_close(
        encode(torch.full((1, 5, 3, 8, 8), 0.5)), torch.zeros(1, 2, CHANNELS, 2, 2), atol=1e-5, rtol=0
    )


def test_folding_can_be_undone() -> None:
    frames = torch.rand(2, 5, 1, 8, 12)
    torch.testing.assert_close(unfold(fold(frames)), frames)


@pytest.mark.parametrize("frames", [0, 2, 16, 48])
def test_other_numbers_of_frames_are_refused(frames: int) -> None:
    with pytest.raises(ValueError, match="4k"):
        latent_frames(frames)
