"""Training pairs for the prior: reading shards of them, and making random batches.

Shards of worlds (stages/worlds/shards.py) hold depth. Those of recordings (pairs_of_recordings.py) hold only the depth
range, from matches between the photographs.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Generator, Tensor

from stages.distill.prior_losses import covisible
from stages.distill.simulated_points import simulated_points
from stages.errors import InputError
from stages.geometry import crop_intrinsics

# A pair of photographs taken in a world gets the depth range that matches might give: these quantiles of the depths
# that both photographs see, times random factors that lengthen the range.
NEAR_QUANTILE, FAR_QUANTILE = 0.02, 0.98
NEAR_FACTOR, FAR_FACTOR = (0.55, 1.0), (1.1, 3.5)
GAMMA, GAIN, TINT = 0.2, 0.1, 0.06  # standard deviations of log gamma, log gain and each channel's further log gain
POLL = 0.2  # seconds between two checks whether a shard is there
PARTS = ("images", "c2w", "K")  # tensors of every shard, besides depth or near_far


@dataclass(frozen=True)
class Batch:
    """B scenes of V views. The first two are the photographs, the others are to be predicted.

    images: [B, V, 3, h, w].  c2w: [B, V, 4, 4].  K: [B, 3, 3].
    depth: [B, V, h, w], camera z, or None for recordings.
    near_far: [B, 2, 2], depth range of each of the two photographs.
    points: [B, P, 3], world points that matches of the two photographs give, or None.
    """

    images: Tensor
    depth: Tensor | None
    c2w: Tensor
    K: Tensor
    near_far: Tensor
    points: Tensor | None


class Pool:
    """Scenes of the first shards of a list, in memory as uint8 and float16, grouped by size, number of views and kind.

    paths: the shards, in order. They need not exist yet.  needs_depth: whether scenes without depth are left out.
    check: called while the pool waits for a shard, to raise an error when it will not come.
    waited: seconds that the pool has waited since this was last set to 0.
    """

    def __init__(
        self, paths: Sequence[Path], needs_depth: bool = False, check: Callable[[], None] = lambda: None
    ) -> None:
        self.paths, self.needs_depth, self.check = paths, needs_depth, check
        self.loaded, self.waited = 0, 0.0
        self.groups: dict[tuple[int, ...], list[dict[str, Tensor]]] = {}

    def take(self, count: int) -> None:
        """Load shards until the pool holds the first `count`. Waits for those that do not exist yet."""
        while self.loaded < min(count, len(self.paths)):
            path, since = self.paths[self.loaded], time.monotonic()
            while not path.exists():
                self.check()
                time.sleep(POLL)
                self.waited += time.monotonic() - since
                since = time.monotonic()
            for scene in read_scenes(path):
                if self.needs_depth and "depth" not in scene:
                    continue
                key = (*scene["images"].shape[-2:], len(scene["images"]), "depth" in scene)
                self.groups.setdefault(key, []).append(scene)
            self.loaded += 1

    def sample(self, count: int, generator: Generator) -> dict[str, Tensor]:
        """`count` random scenes of one group, stacked. The chance of a group is proportional to its number of scenes.

        Raises InputError when there is no scene.
        """
        groups = list(self.groups.values())
        if not groups:
            why = "none of them has depth"
            raise InputError("nothing to learn from the training pairs", why, "add pairs that were taken in worlds")
        weights = torch.tensor([float(len(group)) for group in groups])
        group = groups[int(torch.multinomial(weights, 1, generator=generator))]
        chosen = [group[k] for k in torch.randint(len(group), (count,), generator=generator).tolist()]
        return {name: torch.stack([scene[name] for scene in chosen]) for name in chosen[0]}


def read_scenes(path: Path) -> list[dict[str, Tensor]]:
    """The scenes of a shard. Raises InputError when the file is no shard of pairs."""
    hint = "make the pairs again"
    try:
        with safe_open(path, "pt") as shard:
            tensors = {name: shard.get_tensor(name) for name in shard.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot read the training pairs {path}", str(error).splitlines()[0], hint) from error
    if not {*PARTS} <= tensors.keys() or not {"depth", "near_far"} & tensors.keys():
        why = f"it holds {', '.join(sorted(tensors)) or 'nothing'}"
        raise InputError(f"cannot read the training pairs {path}", why, hint)
    return [{name: value[k] for name, value in tensors.items()} for k in range(len(tensors["K"]))]


def make_batch(scenes: dict[str, Tensor], generator: Generator, device: torch.device, width: int | None) -> Batch:
    """Random variants of the scenes: cropped to `width` columns, mirrored, swapped, recoloured, in another light.

    generator: a generator on the CPU, so that the random numbers do not depend on the device.
    """
    on_device = {name: value.to(device) for name, value in scenes.items()}
    images, depth = on_device["images"].float() / 255, on_device["depth"].float() if "depth" in on_device else None
    c2w, K = on_device["c2w"], on_device["K"].clone()
    near_far = on_device.get("near_far")
    columns, crop = images.shape[-1], slice(None)
    if width is not None and width < columns:
        left = int(torch.randint(columns - width + 1, (), generator=generator))
        crop, columns = slice(left, left + width), width
        K = crop_intrinsics(K, left, 0)
    mirrored, swapped, recoloured = (torch.rand(3, generator=generator) < torch.tensor([0.5, 0.5, 0.15])).tolist()
    colours = torch.randperm(3, generator=generator)
    images, depth = images[..., crop], None if depth is None else depth[..., crop]
    if mirrored:
        images, depth = images.flip(-1), None if depth is None else depth.flip(-1)
        flip = torch.diag(torch.tensor([-1.0, 1, 1, 1])).to(device)
        c2w = flip @ c2w @ flip
        K[:, 0, 2] = columns - K[:, 0, 2]
    if swapped:
        order = [1, 0, *range(2, images.shape[1])]
        images, depth, c2w = images[:, order], None if depth is None else depth[:, order], c2w[:, order]
        near_far = None if near_far is None else near_far.flip(1)
    if recoloured:
        images = images[:, :, colours.to(device)]
    images = in_another_light(images, generator)
    points = None
    if depth is not None:
        near_far = range_of_matches(depth[:, :2], c2w[:, :2], K, generator)
        points = simulated_points(images[:, :2], depth[:, :2], c2w[:, :2], K, generator)
    assert near_far is not None, "a scene without depth has a range"
    return Batch(images, depth, c2w, K, near_far, points)


def in_another_light(images: Tensor, generator: Generator) -> Tensor:
    """All views of each scene as another camera would have taken them: with another gamma, gain and tint.

    images: [B, V, 3, h, w].
    """
    random = torch.randn(len(images), 5, generator=generator).to(images)[:, None, :, None, None]
    gamma = (GAMMA * random[:, :, :1]).exp()
    gain = (GAIN * random[:, :, 1:2] + TINT * random[:, :, 2:]).exp()
    return (gain * images**gamma).clamp(0, 1)


def range_of_matches(depth: Tensor, c2w: Tensor, K: Tensor, generator: Generator) -> Tensor:
    """A depth range for each photograph, as matches might give it (see NEAR_QUANTILE), [B, 2, 2]."""
    coarse = F.avg_pool2d(depth, 1, 4)  # every fourth pixel in each direction
    small = K.clone()
    small[:, :2] /= 4
    visible = covisible(coarse, c2w, small, tolerance=0.1) > 0
    values = torch.where(visible, coarse, torch.nan).flatten(2)
    quantiles = torch.tensor([NEAR_QUANTILE, FAR_QUANTILE]).to(depth)
    low, high = values.nanquantile(quantiles, -1).nan_to_num(nan=1.0)
    random = torch.rand(2, *low.shape, generator=generator).to(depth)
    near = low * (NEAR_FACTOR[0] + (NEAR_FACTOR[1] - NEAR_FACTOR[0]) * random[0])
    far = high * (FAR_FACTOR[0] + (FAR_FACTOR[1] - FAR_FACTOR[0]) * random[1] ** 2)
    return torch.stack([near, far.maximum(1.5 * near)], -1)
