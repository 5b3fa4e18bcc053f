"""The plane sweep: where a pixel lands in another view for every candidate depth, and how well it matches there (SPEC 3.5).

N is the number of ordered view pairs (reference, source) in a batch, P the number of reference pixels, D of candidates.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.geometry import pixel_centres
from stages.prior.config import PriorConfig

PAIR_BLOCK = 1 << 22  # products of pixel pairs held at once (16 MB): beyond the cache the product itself becomes the slow part
FLAT = 1e-4  # variance added to a window's (an eighth of a grey level in 8 bits, squared, is 2e-7): keeps noise on flat walls from matching
GREY = (0.299, 0.587, 0.114)


def inverse_depths(near_far: Tensor, count: int) -> Tensor:
    """Candidates uniform in inverse depth, far first. near_far: [..., 2], scene units. Returns [..., count]."""
    near, far = 1 / near_far[..., :1], 1 / near_far[..., 1:]
    return far + torch.linspace(0, 1, count, dtype=near.dtype, device=near.device) * (near - far)


def sweep(
    K: Tensor, c2w: Tensor, source_K: Tensor, source_c2w: Tensor, inverse_depth: Tensor, size: tuple[int, int], convention: str
) -> tuple[Tensor, Tensor]:
    """Where the centres of the reference's pixels land in the source when they lie on each candidate plane.

    K, source_K: [N, 3, 3], px of a map of `size` (h, w).  c2w, source_c2w: [N, 4, 4].  inverse_depth: [N, D].
    Returns positions [N, P, D, 2], (x, y) counted in cells of the map (0 is the centre of the first), and whether each is
    inside the source and before it, [N, P, D].
    With the convention "ray", upstream's quirks: whole coordinates, K for both views, and nothing behind the camera is masked.
    """
    h, w = size
    half = 0.5 if convention == "z" else 0.0
    if convention == "ray":
        source_K = K
    grid = pixel_centres(h, w, K).flatten(0, 1) - K.new_tensor([0.5 - half, 0.5 - half, 0.0])
    relative = torch.linalg.inv(source_c2w) @ c2w
    # K_s (R K^-1 p d + t), the projection of [P] rays at [D] depths
    ray = torch.einsum("nij,pj->npi", source_K @ relative[:, :3, :3] @ torch.linalg.inv(K), grid)
    epipole = (source_K @ relative[:, :3, 3:])[:, None, :, 0]
    depth = 1 / inverse_depth
    x, y, z = (ray[..., i, None] * depth[:, None] + epipole[..., i, None] for i in range(3))
    z_safe = z.clamp_min(1e-3) if convention == "ray" else z.clamp_min(1e-3 * depth[:, None].amin(-1, keepdim=True))
    x, y = x / z_safe - half, y / z_safe - half
    inside = (x > -0.5) & (x < w - 0.5) & (y > -0.5) & (y < h - 0.5) & (z >= z_safe)
    return torch.stack([x, y], -1), inside


def correlate(reference: Tensor, source: Tensor, positions: Tensor) -> Tensor:
    """Products of reference features with source features sampled bilinearly (zero outside), divided by sqrt(C).

    reference, source: [N, C, h, w].  positions: [N, P, D, 2], cells of the source map.  Returns [N, P, D].
    As sampling is linear, the product of samples is the sample of products: a matrix product of all pixel pairs, then four
    look-ups a candidate, instead of C samples a candidate. Done in blocks of reference pixels to bound the memory.
    """
    n, c, h, w = source.shape
    query = reference.flatten(2).transpose(1, 2) / c**0.5
    key = source.flatten(2)
    corners = [corner.split(_rows(n, h * w), 1) for corner in _bilinear(positions, (h, w))]
    blocks = []
    for rows, *indices_weights in zip(query.split(_rows(n, h * w), 1), *corners, strict=True):
        products = rows @ key
        samples = (products.gather(2, index) * weight for index, weight in zip(indices_weights[0::2], indices_weights[1::2], strict=True))
        blocks.append(sum(samples))
    return torch.cat(blocks, 1)


def _rows(n: int, pixels: int) -> int:
    return max(1, PAIR_BLOCK // (n * pixels))


def _bilinear(positions: Tensor, size: tuple[int, int]) -> list[Tensor]:
    """The four neighbours of each position: flat index, weight, index, weight, ...; weight 0 for a neighbour outside."""
    h, w = size
    # Beyond one cell outside every weight is zero; the bound keeps the whole numbers small.
    x, y = positions[..., 0].clamp(-2, w + 1), positions[..., 1].clamp(-2, h + 1)
    left, top = x.detach().floor(), y.detach().floor()
    result = []
    for dy in (0, 1):
        for dx in (0, 1):
            column, row = left + dx, top + dy
            inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
            weight = (1 - (x - column).abs()) * (1 - (y - row).abs()) * inside
            index = row.clamp(0, h - 1) * w + column.clamp(0, w - 1)
            result += [index.long(), weight]
    return result


def patch_similarity(reference: Tensor, source: Tensor, positions: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Classical matching costs of a plane sweep: zero-mean normalised cross-correlation of grey windows, and colour difference.

    reference, source: [N, 3, h, w].  positions: [N, h * w, D, 2].  window: even side, px.
    Returns ZNCC in [-1, 1] and minus the mean absolute difference of 2 x 2 pixels, both [N, D, h/2, w/2].
    Windows are centred on the 2 x 2 pixels of a cell; what a window holds beyond the image is left out.
    """
    n, _, h, w = reference.shape
    grid = positions.transpose(1, 2).reshape(n, -1, w, 2)  # [N, D * h, w, 2]
    grid = (grid + 0.5) * 2 / positions.new_tensor([w, h]) - 1
    warped = F.grid_sample(source, grid, padding_mode="border", align_corners=False).view(n, 3, -1, h, w)
    difference = -(warped - reference[:, :, None]).abs().mean(1)
    grey = reference.new_tensor(GREY)
    a = torch.einsum("c,nchw->nhw", grey, reference)[:, None]
    b = torch.einsum("c,ncdhw->ndhw", grey, warped)

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, window, 2, window // 2 - 1, count_include_pad=False)

    mean_a, mean_b = mean(a), mean(b)
    variance_a, variance_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    zncc = covariance / ((variance_a.clamp_min(0) + FLAT) * (variance_b.clamp_min(0) + FLAT)).sqrt()
    return zncc, F.avg_pool2d(difference, 2)


def pair_sources(x: Tensor, step: int) -> Tensor:
    """For every view the view `step` further on, [B, V, ...] -> [B * V, ...]."""
    return torch.roll(x, -step, 1).flatten(0, 1)


def scaled(K: Tensor, factor: float) -> Tensor:
    """Intrinsics of a map `factor` times the image's size."""
    return K * K.new_tensor([[factor], [factor], [1.0]])


def match_volumes(images: Tensor, features: Tensor, K: Tensor, c2w: Tensor, candidates: Tensor, config: PriorConfig) -> tuple[Tensor, ...]:
    """The matching volumes of every view against the others, averaged over these.

    images: [B, V, 3, H, W].  features: [B, V, C, H/4, W/4].  K: [B, V, 3, 3], px.  c2w: [B, V, 4, 4].  candidates: [B, V, D], inverse depth.
    Returns [B * V, D, H/4, W/4] each: the learned correlation and, if `patch_window`, ZNCC, colour difference (both 0 where a candidate
    lands outside) and then the fraction of candidates that land inside, [B * V, 1, H/4, W/4].
    """
    views, (h, w) = images.shape[1], features.shape[-2:]
    volumes: list[list[Tensor]] = []
    for step in range(1, views):
        poses = c2w.flatten(0, 1), pair_sources(c2w, step)
        intrinsics = K.flatten(0, 1), pair_sources(K, step)
        depths = candidates.flatten(0, 1)
        quarter = [scaled(k, 0.25) for k in intrinsics]
        positions, inside = sweep(quarter[0], poses[0], quarter[1], poses[1], depths, (h, w), config.depth_convention)
        learned = correlate(features.flatten(0, 1), pair_sources(features, step), positions)
        if config.depth_convention == "z":
            learned = learned * inside
        found = [_as_maps(learned, h, w)]
        if config.patch_window:
            half = F.avg_pool2d(images.flatten(0, 1), 2)
            halves = [scaled(k, 0.5) for k in intrinsics]
            fine, _ = sweep(halves[0], poses[0], halves[1], poses[1], depths, (2 * h, 2 * w), config.depth_convention)
            sources = pair_sources(half.view(-1, views, *half.shape[1:]), step)
            mask = _as_maps(inside.to(half.dtype), h, w)
            found += [volume * mask for volume in patch_similarity(half, sources, fine, config.patch_window)]
            found.append(mask.mean(1, keepdim=True))
        volumes.append(found)
    return tuple(torch.stack(same).mean(0) for same in zip(*volumes, strict=True))


def _as_maps(x: Tensor, h: int, w: int) -> Tensor:
    """[N, P, D] -> [N, D, h, w], in channels_last layout as it is."""
    return x.view(x.shape[0], h, w, -1).permute(0, 3, 1, 2)
