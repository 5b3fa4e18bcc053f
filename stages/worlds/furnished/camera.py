"""What a camera makes of a furnished world: one development for all views, then what the two photographs went through on their way."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from stages.worlds.furnished.vectors import Floats
from stages.worlds.photograph import expose


def develop(linear: Floats, rng: np.random.Generator) -> Floats:
    """Linear colour [V, h, w, 3] to sRGB in [0, 1]: one exposure that suits the pair, one white balance, a soft shoulder."""
    grey = linear[:2].mean(-1)
    level = 0.5 * float(np.median(grey)) + 0.5 * float(grey.mean())
    balance = 1 + rng.normal(0, 0.05, 3)
    exposed = linear * (balance * rng.uniform(0.16, 0.42) / max(level, 1e-4)).astype(np.float32)
    exposed = 1.25 * exposed * (1 + exposed / 6) / (1 + exposed)  # white is about four times what is exposed to middle grey
    return np.clip(exposed, 0, 1) ** np.float32(1 / 2.2)


def take_photographs(images: Tensor, generator: Generator) -> Tensor:
    """The first two of the views [V, 3, h, w] as a camera stores them, the others as the truth to predict; see `expose`.

    Half of the pairs have gone through JPEG, with a quality of 60 to 95.
    """
    out = expose(images, generator)
    compress, quality = torch.rand(2, generator=generator).tolist()
    if compress < 0.5:
        out[:2] = torch.stack([jpeg(picture, int(60 + 35 * quality)) for picture in out[:2]])
    return out


def jpeg(picture: Tensor, quality: int) -> Tensor:
    """A picture [3, h, w] in [0, 1] after it was stored as a JPEG file."""
    file = io.BytesIO()
    Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).contiguous().numpy()).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).float() / 255
