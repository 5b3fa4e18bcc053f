"""Latents of training clips, kept on disk: a learned codec takes seconds for a clip, and training meets it often."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from stages.files.weight_tensors import read_safetensors, write_safetensors

if TYPE_CHECKING:
    from stages.distill.model import Model


class Latents:
    """Encodes clips with the codec of a model.

    If the codec is a learned one, each latent is kept in FOLDER/CODEC/PIXELS.safetensors, where CODEC is a hash of the
    codec's weights and PIXELS one of the clip's pixels. So a latent can never be that of another clip or codec.
    """

    def __init__(self, model: Model, folder: Path) -> None:
        self.encode = model.encode
        self.folder = None if model.codec is None else folder / model.codec

    def of(self, stored: Tensor, frames: Tensor) -> Tensor:
        """The latents of clips, [B, T, C, H, W].

        stored: [B, F, 3, h, w], uint8, on the CPU.  frames: the same in [0, 1] on the device of the codec.
        """
        if self.folder is None:
            return self.encode(frames)
        return torch.cat([self._of_clip(self.folder, *clip) for clip in zip(stored, frames, strict=True)])

    def _of_clip(self, folder: Path, stored: Tensor, frames: Tensor) -> Tensor:
        path = folder / f"{hash_tensors(stored)}.safetensors"
        if path.is_file():
            return read_safetensors(path)["latent"][None].to(frames)
        latent = self.encode(frames[None])
        half = latent.bfloat16()
        is_exact = torch.equal(half.to(latent), latent)  # as it is if the codec computes in bfloat16
        write_safetensors(path, {"latent": half[0] if is_exact else latent[0]})
        return latent


def hash_tensors(*tensors: Tensor) -> str:
    """A hash of the bytes of tensors, 32 hexadecimal digits."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def hash_codec(codec: nn.Module) -> str:
    """A hash of the weights of a codec."""
    return hash_tensors(*codec.state_dict().values())
