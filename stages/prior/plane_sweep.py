"""The plane sweep: where a pixel lands in another view for every candidate depth, and how well it matches there.

In shapes, N counts ordered pairs of views (reference, source), P pixels of the reference, and D candidate depths.
Source: MVSplat (Chen et al. 2024, section 3.1).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.geometry import pixel_centres
from stages.prior.config import PriorConfig

# Largest number of products of two pixels' features in memory. On a CPU they should fit into the cache (2 MB). On a GPU
# the number is larger (1 GB), because many small kernels are slow.
PAIR_BLOCK, CUDA_PAIR_BLOCK = 1 << 19, 1 << 28
NEARER = 2.8  # with `nearer` > 0, the nearest candidate lies at the near depth divided by this
PLANES = 8  # number of planes for which an image is warped at once, so that the results fit into the cache
# Added to the variance of a window. A contrast below 0.01, two or three levels of 8 bits, is noise and must not match.
FLAT = 1e-4
GAINS = (4.0, 4.0, 10.0)  # factors that bring cosine, ZNCC and colour difference to about the same spread
GREY = (0.299, 0.587, 0.114)  # weights of red, green and blue in luma


def inverse_depths(near_far: Tensor, count: int, nearer: int = 0) -> Tensor:
    """Candidates as inverse depths, [..., count], far first. near_far: [..., 2], scene units.

    The first are evenly spaced in inverse depth from far to near. The last, `nearer` in number, go on to near / NEARER,
    evenly spaced in the logarithm of depth.
    """
    near, far = 1 / near_far[..., :1], 1 / near_far[..., 1:]
    uniform = far + torch.linspace(0, 1, count - nearer, dtype=near.dtype, device=near.device) * (near - far)
    steps = torch.arange(1, nearer + 1, dtype=near.dtype, device=near.device) / max(nearer, 1)
    return torch.cat([uniform, near * NEARER**steps], -1)


def sweep(
    K: Tensor,
    c2w: Tensor,
    source_K: Tensor,
    source_c2w: Tensor,
    inverse_depth: Tensor,
    size: tuple[int, int],
    convention: str,
) -> tuple[Tensor, Tensor]:
    """Where the source sees the surface that a pixel of the reference shows, if it lies at a candidate depth.

    K, source_K: [N, 3, 3], px of a map of `size` (h, w).  c2w, source_c2w: [N, 4, 4].  inverse_depth: [N, D].
    convention: see `PriorConfig.depth_convention`.
    Returns positions [N, D, P, 2], (x, y) in cells of the map, where 0 is the centre of the first cell; and
    whether each lies inside the source's map and in front of its camera, [N, D, P].
    """
    h, w = size
    half = 0.5 if convention == "z" else 0.0
    if convention == "ray":
        source_K = K
    grid = pixel_centres(h, w, K).flatten(0, 1) - K.new_tensor([0.5 - half, 0.5 - half, 0.0])
    relative = torch.linalg.inv(source_c2w) @ c2w
    # The projection of P rays at D depths: K_s (R K^-1 p d + t).
    ray = source_K @ relative[:, :3, :3] @ torch.linalg.inv(K) @ grid.T  # [N, 3, P]
    epipole = source_K @ relative[:, :3, 3:]  # [N, 3, 1]
    depth = 1 / inverse_depth
    x, y, z = (ray[:, i, None] * depth[:, :, None] + epipole[:, i, None] for i in range(3))  # [N, D, P]
    nearest = 1e-3 if convention == "ray" else 1e-3 * depth.amin(1)[:, None, None]
    in_front = z >= nearest
    z = torch.where(in_front, z, nearest)
    x, y = x / z - half, y / z - half
    inside = in_front & (x > -0.5) & (x < w - 0.5) & (y > -0.5) & (y < h - 0.5)
    return torch.stack([x, y], -1), inside


def correlate(reference: Tensor, source: Tensor, positions: Tensor) -> Tensor:
    """Products of reference features with source features sampled bilinearly (zero outside), divided by sqrt(C).

    reference, source: [N, C, h, w].  positions: [N, D, P, 2], cells of the source map.  Returns [N, P, D].
    Sampling is linear, so products can be sampled in place of features. A matrix product gives those of all pairs of
    pixels, and each candidate then takes 4 look-ups instead of 4 C. Blocks of reference pixels bound the memory.
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
    """Flat indices and weights of the four cells around each position. A cell outside the map has weight 0.

    positions: [N, P, D, 2].  Returns [N, P, 4, D] twice.
    """
    h, w = size
    # Farther outside all weights are zero anyway. The bound keeps the indices small.
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
    """Classical matching scores of a plane sweep for cells of 2 x 2 pixels: ZNCC of grey windows, colour difference.

    reference, source: [N, 3, h, w].  positions: [N, D, h * w, 2], px of the source.
    radius: windows are squares with 2 radius + 1 cells on each side; those at the edge of the image are smaller.
    Returns the zero-mean normalised cross-correlation in [-1, 1] and minus the mean absolute difference of the cells'
    colours, both [N, D, h/2, w/2].
    """
    n, _, h, w = reference.shape
    size = positions.new_tensor([w, h])
    grid = (positions * (2 / size) + (1 / size - 1)).view(n, -1, w, 2)  # [N, D * h, w, 2]
    warped = F.grid_sample(source, grid, padding_mode="border", align_corners=False).view(n, 3, -1, h, w)
    a, b = grey(reference)[:, None], grey(warped)

    def window(cells: Tensor) -> Tensor:
        return F.avg_pool2d(cells, 2 * radius + 1, 1, radius, count_include_pad=False)

    cells_a = F.avg_pool2d(reference, 2)[:, :, None]
    cells_b = F.avg_pool2d(warped.flatten(1, 2), 2).view(n, 3, -1, h // 2, w // 2)
    mean_a, mean_b = window(grey(cells_a)), window(grey(cells_b))
    variance_a = window(F.avg_pool2d(a * a, 2)) - mean_a**2
    variance_b = window(F.avg_pool2d(b * b, 2)) - mean_b**2
    covariance = window(F.avg_pool2d(a * b, 2)) - mean_a * mean_b
    zncc = covariance / ((variance_a.clamp_min(0) + FLAT) * (variance_b.clamp_min(0) + FLAT)).sqrt()
    return zncc, -(cells_a - cells_b).abs().mean(1)


def grey(x: Tensor) -> Tensor:
    """Luma of [N, 3, ...], as [N, ...]."""
    return GREY[0] * x[:, 0] + GREY[1] * x[:, 1] + GREY[2] * x[:, 2]


def pair_sources(x: Tensor, step: int) -> Tensor:
    """The view `step` places after each view, in a circle. x: [B, V, ...].  Returns [B * V, ...]."""
    return torch.roll(x, -step, 1).flatten(0, 1)


def scaled(K: Tensor, factor: float) -> Tensor:
    """Intrinsics for a map whose size is `factor` times that of the image."""
    return K * K.new_tensor([[factor], [factor], [1.0]])


def match_volumes(
    images: Tensor, features: Tensor, K: Tensor, c2w: Tensor, candidates: Tensor, config: PriorConfig
) -> tuple[Tensor, ...]:
    """The matching volumes of every view, averaged over the other views.

    images: [B, V, 3, H, W].  features: [B, V, C, H/4, W/4].  K: [B, V, 3, 3], px.  c2w: [B, V, 4, 4].
    candidates: [B, V, D], inverse depths.
    Returns the learned correlation, [B * V, D, H/4, W/4]. With `patch_radius` also ZNCC and colour difference, of the
    same shape and 0 where a candidate lands outside; and the share of candidates inside, [B * V, 1, H/4, W/4]. Then the
    first three are multiplied by GAINS.
    """
    views, (h, w) = images.shape[1], features.shape[-2:]
    if config.unit_features:
        # The factor undoes the division by sqrt(C) in `correlate`, so that products are cosines.
        centred = features - features.mean((-2, -1), keepdim=True)
        features = F.normalize(centred, dim=2) * features.shape[2] ** 0.25
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
        of_source = [_as_maps(learned, h, w)]
        if config.patch_radius:
            half = F.avg_pool2d(images.flatten(0, 1), 2)
            halves = [scaled(k, 0.5) for k in intrinsics]
            sources = pair_sources(half.view(-1, views, *half.shape[1:]), step)
            slices = []
            for planes in depths.split(PLANES, 1):
                cameras, size = (halves[0], poses[0], halves[1], poses[1]), (2 * h, 2 * w)
                fine, _ = sweep(*cameras, planes, size, config.depth_convention)
                slices.append(patch_similarity(half, sources, fine, config.patch_radius))
            mask = _as_maps(inside.to(half.dtype), h, w)
            of_source += [torch.cat(volume, 1) * mask for volume in zip(*slices, strict=True)]
            of_source.append(mask.mean(1, keepdim=True))
        volumes.append(of_source)
    averaged = [torch.stack(same).mean(0) for same in zip(*volumes, strict=True)]
    if config.patch_radius:
        averaged[:3] = [volume * gain for volume, gain in zip(averaged[:3], GAINS, strict=True)]
    return tuple(averaged)


def _as_maps(x: Tensor, h: int, w: int) -> Tensor:
    """[N, P, D] -> [N, D, h, w]. Nothing is copied, so the result has the channels_last layout."""
    return x.view(x.shape[0], h, w, -1).permute(0, 3, 1, 2)
