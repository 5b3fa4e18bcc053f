"""Surfaces that stay whole in larger windows and from nearer.

Photographs do not show what is smaller than their pixels, and the renderer's blur of half a pixel hides the gaps
between Gaussians. In a larger window, or from nearer, small or faint Gaussians would be dots on black. Two things
prevent that: no Gaussian becomes smaller than a share of a pixel in the view that shows it largest, as with the 3D
smoothing filter of Mip-Splatting (Yu et al., CVPR 2024, section 5.1), and holes in enlarged photographs are a loss.
If the smallest scales were as large as the scales that the prior predicts, renders of the photographs would be blurred,
and their PSNR up to 1 dB lower.
"""

import torch
from torch import Tensor

from stages.geometry import crop_intrinsics, project, resize_intrinsics
from stages.reconstruct.targets import Targets
from stages.scene import Cameras, Gaussians
from stages.splat import draw

SMALLEST = 0.45  # smallest standard deviation, px; the variance of Mip-Splatting's filter is 0.2 px^2
# A view also counts as showing what lies outside its image by up to this share of the image's width or height.
MARGIN = 0.15
ZOOMS = (2, 4)  # photographs are enlarged by these factors in turn
HOLE_WEIGHT = 0.2  # weight of the loss of holes, relative to that of pictures


@torch.no_grad()
def smallest_scales(means: Tensor, cameras: Cameras) -> Tensor:
    """The smallest standard deviation of each Gaussian, scene units: SMALLEST px of the view that shows it largest.

    Returns [G].  means: [G, 3].  cameras: those of the targets.
    Where no view shows a Gaussian, all views that it is in front of count. A Gaussian behind all views has size 0.
    """
    size = means.new_tensor([cameras.size[1], cameras.size[0]])
    shown, in_front = means.new_full((2, len(means)), torch.inf)
    for c2w, K in zip(cameras.c2w.to(means), cameras.K.to(means), strict=True):
        position, z = project(means, K, c2w)
        pixel = torch.where(z > 0, z / K[0, 0], torch.inf)
        inside = ((position > -MARGIN * size) & (position < (1 + MARGIN) * size)).all(1)
        shown = shown.minimum(torch.where(inside, pixel, torch.inf))
        in_front = in_front.minimum(pixel)
    pixel = torch.where(shown.isfinite(), shown, in_front)
    return SMALLEST * torch.where(pixel.isfinite(), pixel, 0.0)


def hole_loss(gaussians: Gaussians, targets: Targets, step: int, seed: int, near: float) -> Tensor:
    """Mean transparency of a part of an enlarged photograph, which should show a surface in every pixel.

    The part has as many pixels as the photograph. Photographs take turns, and so do the factors ZOOMS.
    step: number of the optimiser's step.  seed: seed of the parts' random positions.  near: near plane, scene units.
    """
    turn, index = divmod(step, targets.photographs)
    zoom, (h, w) = ZOOMS[turn % len(ZOOMS)], targets.cameras.size
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    top, left = (int(torch.randint((zoom - 1) * side + 1, (), generator=generator)) for side in (h, w))
    photograph = targets.cameras[[index]]
    K = crop_intrinsics(resize_intrinsics(photograph.K, (h, w), (zoom * h, zoom * w)), left, top)
    alpha = draw(gaussians, Cameras(photograph.c2w, K, (h, w)), near).alpha[0]
    rows, columns = ((first + torch.arange(side, device=alpha.device)) // zoom for first, side in ((top, h), (left, w)))
    weight: Tensor = targets.weight[index][rows][:, columns]
    return ((1 - alpha) * weight).mean()
