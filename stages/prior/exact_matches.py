"""Positions of matches to a fraction of a pixel.

The matcher finds whole pixels, and its two points may show places that are a pixel or two apart. So each point of the
second photograph is moved until the surroundings of both points look alike, by least squares over a displacement and an
affine change of the surroundings (Baker and Matthews, "Lucas-Kanade 20 years on", IJCV 2004, the inverse compositional
algorithm). Here a working pixel is one of an image resized to a short side of 512, and a long side of at most 1536.
The working pixels of pose.py have no limit of the long side.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.geometry import sampling_grid
from stages.prior.matching import Matches, working_scale
from stages.prior.plane_sweep import grey

RADIUS, SPACING = 7, 1.5  # a patch has 2 RADIUS + 1 samples along each side, which lie SPACING working px apart
SIGMA = 5.0  # standard deviation of the weights of a patch, working px
SHIFTS, CHANGES = 4, 6  # steps that only shift a patch, and steps that also change its shape
# Largest change in one step: of x or y, working px, and of an entry of the affine matrix.
LARGEST_SHIFT, LARGEST_CHANGE = 1.0, 0.2
# Added to the Hessian of the four affine entries alone, for a patch of unit contrast. It makes their steps smaller
# where the patch says little about them.
STIFF = 0.03
# The result is exact if the patches correlate by more than ALIKE, if the point moved by less than MOVED working px, and
# if the patch has a corner: along an edge it could slide. CORNER bounds the smaller eigenvalue of the structure tensor
# of a patch of unit contrast, in 1 / px^2. Both points must be more than RIM working px inside their images, so that
# nearly all weight of their patches is.
ALIKE, MOVED, CORNER, RIM = 0.8, 4.0, 0.005, 10.0
# The first affine matrix comes from the NEIGHBOURS nearest matches (the match itself is one), by least squares that are
# repeated REWEIGHTINGS times with new weights. A match counts half if it is off by OFF working px. CALM, working px^2,
# draws the matrix towards the identity. These constants were chosen by the distances of matches from the true epipolar
# lines of validation scenes with known cameras.
NEIGHBOURS, REWEIGHTINGS, OFF, CALM = 12, 8, 3.0, 80.0


@torch.no_grad()
def exact_matches(images: Sequence[Tensor], matches: Matches) -> Matches:
    """The matches, some of which have a moved point in the second image; `exact` tells which.

    images: two of [3, h, w] in [0, 1]; sizes may differ. Matches that are not exact keep their places.
    """
    if len(matches) < NEIGHBOURS:
        return matches
    (first, zoom_a), (second, zoom_b) = (_working_grey(image) for image in images)
    a, b = matches.points_a.float() * zoom_a, matches.points_b.float() * zoom_b
    moved, exact = aligned(first, second, a, b, local_affine(a, b))
    return replace(matches, points_b=torch.where(exact[:, None], moved / zoom_b, matches.points_b), exact=exact)


def aligned(first: Tensor, second: Tensor, a: Tensor, b: Tensor, affine: Tensor) -> tuple[Tensor, Tensor]:
    """Align the patches of image `second` around b with those of image `first` around a.

    first, second: [1, h, w], grey.  a, b: [M, 2], px of these images.
    affine: [M, 2, 2], first guess of how offsets from a become offsets from b.
    Returns b after the alignment, [M, 2], and whether it succeeded, [M], boolean.
    """
    offsets, weights = patch(a)

    def seen(b: Tensor, affine: Tensor) -> Tensor:
        """The patches of the second image, [M, P], of unit contrast."""
        return _normalised(_sample(second, b[:, None] + offsets @ affine.mT)[..., 0], weights)[0]

    slopes = torch.stack(torch.gradient(first[0], dim=(1, 0)))
    around = _sample(torch.cat([first, slopes]), a[:, None] + offsets)  # [M, P, 3]
    template, contrast = _normalised(around[..., 0], weights)
    gradient = around[..., 1:] / contrast[..., None]
    # Derivatives of the template by a shift, and by the four entries of an affine change. For these entries, offsets
    # are in units of SIGMA.
    by_entry = (gradient[..., :, None] * offsets[:, None, :] / SIGMA).flatten(2)
    jacobian = torch.cat([gradient, by_entry], -1)  # [M, P, 6]
    weighted = (jacobian * weights[:, None]).mT
    hessian = weighted @ jacobian
    corner = torch.linalg.eigvalsh(hessian[:, :2, :2])[:, 0] > CORNER
    hessian = hessian + STIFF * torch.diag(hessian.new_tensor([0, 0, 1, 1, 1, 1])) + 1e-4 * torch.eye(6).to(hessian)
    start, eye = b, torch.eye(2).to(b)
    for step in range(SHIFTS + CHANGES):
        right = (weighted @ (seen(b, affine) - template)[..., None])[..., 0]
        free = 2 if step < SHIFTS else 6
        change = F.pad(torch.linalg.solve(hessian[:, :free, :free], right[:, :free]), (0, 6 - free))
        shift = change[:, :2].clamp(-LARGEST_SHIFT, LARGEST_SHIFT)
        entries = (change[:, 2:].view(-1, 2, 2) / SIGMA).clamp(-LARGEST_CHANGE, LARGEST_CHANGE)
        # The change is of the template, so its inverse is composed with the warp of the second image.
        affine = affine @ torch.linalg.inv(eye + entries)
        b = b - (affine @ shift[..., None])[..., 0]
    alike = (seen(b, affine) * template * weights).sum(1) > ALIKE
    inside = (_from_rim(a, first) > RIM) & (_from_rim(b, second) > RIM)
    return b, alike & corner & inside & ((b - start).norm(dim=1) < MOVED)


def patch(like: Tensor) -> tuple[Tensor, Tensor]:
    """The offsets of the P samples of a patch, [P, 2], px, and their weights, [P], which sum to 1."""
    line = SPACING * torch.arange(-RADIUS, RADIUS + 1).to(like)
    offsets = torch.cartesian_prod(line, line)
    weights = torch.exp(-offsets.square().sum(1) / (2 * SIGMA**2))
    return offsets, weights / weights.sum()


def local_affine(a: Tensor, b: Tensor) -> Tensor:
    """How small offsets from points a become offsets from their matches b, [M, 2, 2]. a, b: [M, 2], working px."""
    # cdist's faster way, by matrix products, is inexact in float32.
    every = torch.cdist(a, a, compute_mode="donot_use_mm_for_euclid_dist")
    distance, index = every.topk(NEIGHBOURS, largest=False)
    from_a, from_b = a[index] - a[:, None], b[index] - b[:, None]
    near = 1 / (1 + (distance / distance.median(1, keepdim=True).values.clamp_min(1e-6)).square())
    eye = torch.eye(2).to(a)
    affine = eye.expand(len(a), 2, 2)
    for _ in range(REWEIGHTINGS):
        off = (from_b - from_a @ affine.mT).norm(dim=-1)
        weighted = (from_a * (near / (1 + (off / OFF).square()))[..., None]).mT
        affine = torch.linalg.solve(weighted @ from_a + CALM * eye, weighted @ from_b + CALM * eye).mT
    return affine


def _working_grey(image: Tensor) -> tuple[Tensor, Tensor]:
    """An image [3, h, w] as grey [1, h', w'] of the working size, on the CPU, and px of it per px of the image, [2]."""
    h, w = image.shape[-2:]
    scale = working_scale((h, w))
    size = (max(1, round(h * scale)), max(1, round(w * scale)))
    working = F.interpolate(image[None].float(), size, mode="bicubic", antialias=True).cpu()
    return grey(working), torch.tensor([size[1] / w, size[0] / h])


def _from_rim(points: Tensor, image: Tensor) -> Tensor:
    """How far points [M, 2] are inside an image [1, h, w], px, [M]."""
    size = points.new_tensor([image.shape[-1], image.shape[-2]])
    return torch.minimum(points, size - points).amin(1)


def _sample(image: Tensor, points: Tensor) -> Tensor:
    """The values of an image [C, h, w] at points [M, P, 2], px, interpolated, [M, P, C]."""
    grid = sampling_grid(points, (image.shape[-2], image.shape[-1]))
    found = F.grid_sample(image[None], grid[None], mode="bicubic", padding_mode="border", align_corners=False)
    return found[0].permute(1, 2, 0)


def _normalised(patches: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Patches [M, P] with mean 0 and standard deviation 1, and their standard deviations, [M, 1]."""
    centred = patches - (patches * weights).sum(1, keepdim=True)
    contrast = (centred.square() * weights).sum(1, keepdim=True).sqrt() + 1e-4
    return centred / contrast, contrast
