"""How much memory the small prior needs on a CPU, for `--dry-run`."""

# Fitted to the peak memory of the process, measured from 256 x 256 to 768 x 1024 pixels; right within 20 %.
BASE_BYTES = 450e6  # torch and the matcher
BYTES_PER_PIXEL = 1.8e3  # per pixel of one photograph
BYTES_PER_PIXEL_SQUARED = 2.4e-3  # per squared number of pixels: the attention and the cost volume
BYTES_PER_FRAME_PIXEL = 32.0  # per pixel and frame of the clip


def peak_memory(pixels: int, frames: int) -> float:
    """Bytes at the peak, for two photographs of `pixels` pixels each and a clip of `frames` frames of that size."""
    network = BASE_BYTES + BYTES_PER_PIXEL * pixels + BYTES_PER_PIXEL_SQUARED * pixels**2
    return network + BYTES_PER_FRAME_PIXEL * pixels * frames
