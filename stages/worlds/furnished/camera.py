"""From linear colour to pictures: one exposure for all views, then noise and JPEG for the two photographs."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from stages.worlds.furnished.vectors import Floats
from stages.worlds.photograph import expose


def develop(linear: Floats, rng: np.random.Generator) -> Floats:
    """Linear colour [V, h, w, 3] -> sRGB in [0, 1], with one exposure, white balance and tone curve for all views."""
    grey = linear[:2].mean(-1)
    level = 0.5 * float(np.median(grey)) + 0.5 * float(grey.mean())
    balance = 1 + rng.normal(0, 0.05, 3)
    exposed = linear * (balance * rng.uniform(0.16, 0.42) / max(level, 1e-4)).astype(np.float32)
    # Compress highlights: white is about four times middle grey.
    exposed = 1.25 * exposed * (1 + exposed / 6) / (1 + exposed)
    return np.clip(exposed, 0, 1) ** np.float32(1 / 2.2)


def take_photographs(images: Tensor, generator: Generator) -> Tensor:
    """Views [V, 3, h, w], the first two as a camera would store them. See `expose`.

    Half of the pairs are compressed as JPEG with a quality of 60 to 95.
    """
    out = expose(images, generator)
    compress, quality = torch.rand(2, generator=generator).tolist()
    if compress < 0.5:
        out[:2] = torch.stack([jpeg(picture, int(60 + 35 * quality)) for picture in out[:2]])
    return out


def jpeg(picture: Tensor, quality: int) -> Tensor:
    """Compress a picture [3, h, w] in [0, 1] as JPEG and decode it."""
    file = io.BytesIO()
    Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).contiguous().numpy()).save(
        file, "JPEG", quality=quality
    )
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).float() / 255
