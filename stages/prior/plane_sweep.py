"""The plane sweep: where a pixel lands in another view for every candidate depth, and how well it matches there (SPEC 3.5).

N is the number of ordered view pairs (reference, source) in a batch, P the number of reference pixels, D of candidates.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.geometry import pixel_centres
from stages.prior.config import PriorConfig

PAIR_BLOCK = 1 << 19  # products of pixel pairs held at once on a CPU (2 MB): beyond the cache, memory is slower than the arithmetic
CUDA_PAIR_BLOCK = 1 << 28  # the same on a GPU (1 GB), where many small kernels are slow
NEARER = 2.8  # the nearest candidate lies at near / NEARER
PLANES = 8  # planes whose half-size images are warped at once, for the same reason
FLAT = 1e-4  # added to a window's variance: contrast below 0.01, two or three levels of 8 bits, is noise and must not match
GAINS = (4.0, 4.0, 10.0)  # bring cosine, ZNCC and colour difference to about the same spread
GREY = (0.299, 0.587, 0.114)


def inverse_depths(near_far: Tensor, count: int, nearer: int = 0) -> Tensor:
    """Candidates, far first. near_far: [..., 2], scene units. Returns inverse depths, [..., count].

    All but the last `nearer` are uniform in inverse depth from far to near; these go on to near / NEARER, uniform in its logarithm.
    """
    near, far = 1 / near_far[..., :1], 1 / near_far[..., 1:]
    uniform = far + torch.linspace(0, 1, count - nearer, dtype=near.dtype, device=near.device) * (near - far)
    steps = torch.arange(1, nearer + 1, dtype=near.dtype, device=near.device) / max(nearer, 1)
    return torch.cat([uniform, near * NEARER**steps], -1)


def sweep(
    K: Tensor, c2w: Tensor, source_K: Tensor, source_c2w: Tensor, inverse_depth: Tensor, size: tuple[int, int], convention: str
) -> tuple[Tensor, Tensor]:
    """Where the centres of the reference's pixels land in the source when they lie on each candidate plane.

    K, source_K: [N, 3, 3], px of a map of `size` (h, w).  c2w, source_c2w: [N, 4, 4].  inverse_depth: [N, D].
    Returns positions [N, D, P, 2], (x, y) counted in cells of the map (0 is the centre of the first), and whether each is
    inside the source and before it, [N, D, P].
    With the convention "ray", upstream's quirks: whole coordinates, K for both views, and nothing behind the camera is masked.
    """
    h, w = size
    half = 0.5 if convention == "z" else 0.0
    if convention == "ray":
        source_K = K
    grid = pixel_centres(h, w, K).flatten(0, 1) - K.new_tensor([0.5 - half, 0.5 - half, 0.0])
    relative = torch.linalg.inv(source_c2w) @ c2w
    # K_s (R K^-1 p d + t): the projection of P rays at D depths
    ray = source_K @ relative[:, :3, :3] @ torch.linalg.inv(K) @ grid.T  # [N, 3, P]
    epipole = source_K @ relative[:, :3, 3:]  # [N, 3, 1]
    depth = 1 / inverse_depth
    x, y, z = (ray[:, i, None] * depth[:, :, None] + epipole[:, i, None] for i in range(3))  # [N, D, P]
    nearest = 1e-3 if convention == "ray" else 1e-3 * depth.amin(1)[:, None, None]
    before = z >= nearest
    z = torch.where(before, z, nearest)
    x, y = x / z - half, y / z - half
    inside = before & (x > -0.5) & (x < w - 0.5) & (y > -0.5) & (y < h - 0.5)
    return torch.stack([x, y], -1), inside


def correlate(reference: Tensor, source: Tensor, positions: Tensor) -> Tensor:
    """Products of reference features with source features sampled bilinearly (zero outside), divided by sqrt(C).

    reference, source: [N, C, h, w].  positions: [N, D, P, 2], cells of the source map.  Returns [N, P, D].
    As sampling is linear, the product of samples is the sample of products: a matrix product of all pixel pairs, then four
    look-ups a candidate, instead of C samples a candidate. Done in blocks of reference pixels to bound the memory.
    """
    n, c, h, w = source.shape
    query = reference.flatten(2).transpose(1, 2) / c**0.5
    key = source.flatten(2)
    index, weight = _bilinear(positions.transpose(1, 2), (h, w))
    rows = max(1, (CUDA_PAIR_BLOCK if source.is_cuda else PAIR_BLOCK) // (n * h * w))
    blocks = []
    for part, at, share in zip(query.split(rows, 1), index.split(rows, 1), weight.split(rows, 1), strict=True):
        products = (part @ key).gather(2, at.flatten(2)).view(share.shape)
        blocks.append((products * share).sum(2))
    return torch.cat(blocks, 1)


def _bilinear(positions: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Flat indices and weights of the four neighbours of each position, weight 0 for a neighbour outside.

    positions: [N, P, D, 2].  Returns [N, P, 4, D] twice.
    """
    h, w = size
    # Beyond one cell outside every weight is zero; the bound keeps the whole numbers small.
    x, y = positions[..., 0].clamp(-2, w + 1), positions[..., 1].clamp(-2, h + 1)
    left, top = x.detach().floor(), y.detach().floor()
    indices, weights = [], []
    for dy in (0, 1):
        for dx in (0, 1):
            column, row = left + dx, top + dy
            inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
            weights.append((1 - (x - column).abs()) * (1 - (y - row).abs()) * inside)
            indices.append((row.clamp(0, h - 1) * w + column.clamp(0, w - 1)).long())
    return torch.stack(indices, 2), torch.stack(weights, 2)


def patch_similarity(reference: Tensor, source: Tensor, positions: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Classical matching scores of a plane sweep for cells of 2 x 2 pixels: ZNCC of grey windows, and colour difference.

    reference, source: [N, 3, h, w].  positions: [N, D, h * w, 2], px of the source.  radius: the window is a square of 2 radius + 1 cells.
    Returns the zero-mean normalised cross-correlation in [-1, 1] and minus the mean absolute difference of the cells' colours, both
    [N, D, h/2, w/2]. What a window holds beyond the image is left out.
    """
    n, _, h, w = reference.shape
    size = positions.new_tensor([w, h])
    grid = (positions * (2 / size) + (1 / size - 1)).view(n, -1, w, 2)  # [N, D * h, w, 2]
    warped = F.grid_sample(source, grid, padding_mode="border", align_corners=False).view(n, 3, -1, h, w)
    a, b = _grey(reference)[:, None], _grey(warped)

    def window(cells: Tensor) -> Tensor:
        return F.avg_pool2d(cells, 2 * radius + 1, 1, radius, count_include_pad=False)

    cells_a, cells_b = F.avg_pool2d(reference, 2)[:, :, None], F.avg_pool2d(warped.flatten(1, 2), 2).view(n, 3, -1, h // 2, w // 2)
    mean_a, mean_b = window(_grey(cells_a)), window(_grey(cells_b))
    variance_a = window(F.avg_pool2d(a * a, 2)) - mean_a**2
    variance_b = window(F.avg_pool2d(b * b, 2)) - mean_b**2
    covariance = window(F.avg_pool2d(a * b, 2)) - mean_a * mean_b
    zncc = covariance / ((variance_a.clamp_min(0) + FLAT) * (variance_b.clamp_min(0) + FLAT)).sqrt()
    return zncc, -(cells_a - cells_b).abs().mean(1)


def _grey(x: Tensor) -> Tensor:
    """Luma of [N, 3, ...], as [N, ...]."""
    return GREY[0] * x[:, 0] + GREY[1] * x[:, 1] + GREY[2] * x[:, 2]


def pair_sources(x: Tensor, step: int) -> Tensor:
    """For every view the view `step` further on, [B, V, ...] -> [B * V, ...]."""
    return torch.roll(x, -step, 1).flatten(0, 1)


def scaled(K: Tensor, factor: float) -> Tensor:
    """Intrinsics of a map `factor` times the image's size."""
    return K * K.new_tensor([[factor], [factor], [1.0]])


def match_volumes(images: Tensor, features: Tensor, K: Tensor, c2w: Tensor, candidates: Tensor, config: PriorConfig) -> tuple[Tensor, ...]:
    """The matching volumes of every view against the others, averaged over these.

    images: [B, V, 3, H, W].  features: [B, V, C, H/4, W/4].  K: [B, V, 3, 3], px.  c2w: [B, V, 4, 4].  candidates: [B, V, D], 1/depth.
    Returns [B * V, D, H/4, W/4] each: the learned correlation and, if `patch_radius`, ZNCC, colour difference (both 0 where a candidate
    lands outside) and then the fraction of candidates that land inside, [B * V, 1, H/4, W/4].
    """
    views, (h, w) = images.shape[1], features.shape[-2:]
    if config.unit_features:
        features = F.normalize(features - features.mean((-2, -1), keepdim=True), dim=2) * features.shape[2] ** 0.25  # products are cosines
    volumes: list[list[Tensor]] = []
    for step in range(1, views):
        poses = c2w.flatten(0, 1), pair_sources(c2w, step)
        intrinsics = K.flatten(0, 1), pair_sources(K, step)
        depths = candidates.flatten(0, 1)
        quarter = [scaled(k, 0.25) for k in intrinsics]
        positions, inside = sweep(quarter[0], poses[0], quarter[1], poses[1], depths, (h, w), config.depth_convention)
        learned = correlate(features.flatten(0, 1), pair_sources(features, step), positions)
        inside = inside.transpose(1, 2)
        if config.depth_convention == "z":
            learned = learned * inside
        found = [_as_maps(learned, h, w)]
        if config.patch_radius:
            half = F.avg_pool2d(images.flatten(0, 1), 2)
            halves = [scaled(k, 0.5) for k in intrinsics]
            sources = pair_sources(half.view(-1, views, *half.shape[1:]), step)
            slices = []
            for planes in depths.split(PLANES, 1):
                fine, _ = sweep(halves[0], poses[0], halves[1], poses[1], planes, (2 * h, 2 * w), config.depth_convention)
                slices.append(patch_similarity(half, sources, fine, config.patch_radius))
            mask = _as_maps(inside.to(half.dtype), h, w)
            found += [torch.cat(volume, 1) * mask for volume in zip(*slices, strict=True)]
            found.append(mask.mean(1, keepdim=True))
        volumes.append(found)
    averaged = [torch.stack(same).mean(0) for same in zip(*volumes, strict=True)]
    if config.patch_radius:
        averaged[:3] = [volume * gain for volume, gain in zip(averaged[:3], GAINS, strict=True)]
    return tuple(averaged)


def _as_maps(x: Tensor, h: int, w: int) -> Tensor:
    """[N, P, D] -> [N, D, h, w], in channels_last layout as it is."""
    return x.view(x.shape[0], h, w, -1).permute(0, 3, 1, 2)
