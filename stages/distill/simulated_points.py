"""Points that a matcher might find in two photographs of a world. Training uses them in place of real matches.

Matches lie where both photographs show texture. They are off by a fraction of a pixel, and a few are wrong.
"""

import torch
from torch import Generator, Tensor

from stages.distill.prior_losses import covisible
from stages.geometry import unproject
from stages.prior.point_votes import STEP, movement

FEWEST, MOST = 15, 800  # numbers of points; their logarithm is uniform
WITHOUT = 0.2  # share of the batches without points, as in photographs that hardly match
POSITION_ERROR = 0.35  # standard deviation of a match along its epipolar line, px
WRONG = 0.02  # share of the points whose depth is wrong
WRONG_BY = 2.0  # largest factor by which such a depth is wrong
NOT_LESS = 0.02  # an inverse depth stays above this share of the true one
# Bounds of the texture of a pixel, which is how much its grey, in [0, 1], differs from the greys to the left and above.
# A texture below NOISE is taken for noise and gives no points. One above STRONG counts as STRONG.
NOISE, STRONG = 0.02, 0.17


@torch.no_grad()
def simulated_points(images: Tensor, depth: Tensor, c2w: Tensor, K: Tensor, generator: Generator) -> Tensor | None:
    """World points that both of two views show, as matches would give them, [B, P, 3], or None for no points.

    images: [B, 2, 3, h, w].  depth: [B, 2, h, w], camera z.  c2w: [B, 2, 4, 4].  K: [B, 3, 3], px.
    generator: a generator on the CPU. Some points may come more than once.
    """
    low, high = torch.tensor([FEWEST, MOST]).double().log()
    chance, share = torch.rand(2, generator=generator).tolist()
    count = int((low + (high - low) * share).exp())
    seen = covisible(depth, c2w, K)[:, 0]
    grey = images[:, 0].mean(1)
    texture = torch.zeros_like(grey)
    texture[:, :, 1:] += grey.diff(dim=2).abs()
    texture[:, 1:, :] += grey.diff(dim=1).abs()
    # Corners that stand out more are found more often, and noise gives no points.
    weight = (seen * (texture - NOISE).clamp(0, STRONG - NOISE)).flatten(1).cpu()
    if chance < WITHOUT or bool(((weight > 0).sum(1) < FEWEST).any()):
        return None
    pixel = torch.multinomial(weight, count, replacement=True, generator=generator).to(depth.device)
    world = unproject(depth[:, 0], K, c2w[:, 0]).flatten(1, 2)
    points = world.gather(1, pixel[..., None].expand(-1, -1, 3))
    random = torch.randn(len(points), count, generator=generator).to(points)
    wrong = torch.rand(2, len(points), count, generator=generator).to(points)
    return torch.stack([_moved(*scene) for scene in zip(points, c2w, K, random, wrong.unbind(1), strict=True)])


def _moved(points: Tensor, c2w: Tensor, K: Tensor, random: Tensor, wrong: Tensor) -> Tensor:
    """Points [P, 3] of one scene, moved along their rays of the first view by the errors of matches."""
    centre = c2w[0, :3, 3]
    relative = STEP / movement(points, c2w[0], K, c2w[1])  # of inverse depth, per pixel
    inverse = (1 + POSITION_ERROR * random * relative).clamp_min(NOT_LESS)
    factor = WRONG_BY ** (2 * wrong[1] - 1)
    inverse = torch.where(wrong[0] < WRONG, factor, inverse)
    return centre + (points - centre) / inverse[:, None]
