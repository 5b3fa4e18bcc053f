"""Training pairs from shards of worlds: a pool that takes shards in their order as they are made, and what a batch does to them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Generator, Tensor

from stages.geometry import crop_intrinsics
from stages.prior.loss import covisible

NEAR_QUANTILE, FAR_QUANTILE = 0.02, 0.98  # of the depths that both photographs see, near which the range of matches ends
NEAR_FACTOR, FAR_FACTOR = (0.55, 1.0), (1.1, 3.5)  # by which that range is lengthened at random, as matches miss its ends
POLL = 0.2  # seconds between two looks for a shard that is still being made


@dataclass(frozen=True)
class Batch:
    """images [B, V, 3, h, w], the first two are the photographs; depth [B, V, h, w]; c2w [B, V, 4, 4]; K [B, 3, 3]; near_far [B, 2, 2]."""

    images: Tensor
    depth: Tensor
    c2w: Tensor
    K: Tensor
    near_far: Tensor


class Pool:
    """The pairs of the first shards of a folder, one group per picture size, kept as uint8 and float16 in main memory.

    folder: shards 00000.safetensors, 00001.safetensors, ... of stages/worlds/shards.py, perhaps still being made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loaded = 0
        self.groups: dict[tuple[int, int], list[dict[str, Tensor]]] = {}

    def take(self, count: int) -> None:
        """Have the first `count` shards in the pool; waits for those that are not made yet."""
        while self.loaded < count:
            path = self.folder / f"{self.loaded:05d}.safetensors"
            while not path.exists():
                time.sleep(POLL)
            with safe_open(path, "pt") as shard:
                tensors = {name: shard.get_tensor(name) for name in ("images", "depth", "c2w", "K")}
            size = tensors["images"].shape[-2], tensors["images"].shape[-1]
            scenes = len(tensors["K"])
            self.groups.setdefault(size, []).extend({name: value[k] for name, value in tensors.items()} for k in range(scenes))
            self.loaded += 1

    def sample(self, count: int, generator: Generator) -> dict[str, Tensor]:
        """`count` scenes of one size, stacked; a size is taken as often as it has scenes."""
        sizes = list(self.groups)
        weights = torch.tensor([float(len(self.groups[size])) for size in sizes])
        group = self.groups[sizes[int(torch.multinomial(weights, 1, generator=generator))]]
        chosen = [group[k] for k in torch.randint(len(group), (count,), generator=generator).tolist()]
        return {name: torch.stack([scene[name] for scene in chosen]) for name in chosen[0]}


def make_batch(scenes: dict[str, Tensor], generator: Generator, device: torch.device, width: int | None = None) -> Batch:
    """Scenes as training sees them: cut to `width` columns, mirrored, swapped, recoloured, with a range like that of matches.

    generator: on the CPU, so that the draws do not depend on the device.
    """
    images, depth = scenes["images"].to(device).float() / 255, scenes["depth"].to(device).float()
    c2w, K = scenes["c2w"].to(device), scenes["K"].to(device)
    chance = lambda p: float(torch.rand((), generator=generator)) < p  # noqa: E731
    if width is not None and width < images.shape[-1]:
        left = int(torch.randint(images.shape[-1] - width + 1, (), generator=generator))
        images, depth = images[..., left : left + width], depth[..., left : left + width]
        K = crop_intrinsics(K, left, 0)
    if chance(0.5):
        images, depth = images.flip(-1), depth.flip(-1)
        flip = torch.diag(torch.tensor([-1.0, 1, 1, 1], device=device))
        c2w = flip @ c2w @ flip
        K = K.clone()
        K[:, 0, 2] = images.shape[-1] - K[:, 0, 2]
    if chance(0.5):
        order = [1, 0, *range(2, images.shape[1])]
        images, depth, c2w = images[:, order], depth[:, order], c2w[:, order]
    if chance(0.15):
        images = images[:, :, torch.randperm(3, generator=generator).to(device)]
    return Batch(images, depth, c2w, K, _range_of_matches(depth[:, :2], c2w[:, :2], K, generator))


def _range_of_matches(depth: Tensor, c2w: Tensor, K: Tensor, generator: Generator) -> Tensor:
    """A near and far for each photograph as matches might tell it, [B, 2, 2]: of what both photographs see, lengthened at random."""
    coarse = F.avg_pool2d(depth, 1, 4)  # every fourth pixel
    small = K.clone()
    small[:, :2] /= 4
    seen = covisible(coarse, c2w, small, tolerance=0.1) > 0
    values = torch.where(seen, coarse, torch.nan).flatten(2)
    quantiles = torch.tensor([NEAR_QUANTILE, FAR_QUANTILE], device=depth.device)
    low, high = values.nanquantile(quantiles, -1).nan_to_num(nan=1.0)
    draw = torch.rand(2, *low.shape, generator=generator).to(depth)
    near = low * (NEAR_FACTOR[0] + (NEAR_FACTOR[1] - NEAR_FACTOR[0]) * draw[0])
    far = high * (FAR_FACTOR[0] + (FAR_FACTOR[1] - FAR_FACTOR[0]) * draw[1] ** 2)
    return torch.stack([near, far.maximum(1.5 * near)], -1)
