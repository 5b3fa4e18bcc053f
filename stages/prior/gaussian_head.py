"""From depth, opacity and the raw output of the head to one Gaussian per pixel (MVSplat, section 3.2)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stages.geometry import pixel_centres, quaternion_product, quaternions
from stages.prior.config import PriorConfig
from stages.prior.rotate_harmonics import rotate
from stages.scene import C0

# The unit of scales is this share of the sum of a pixel's width and height. For a square pixel it is a fifth of a side.
FOOTPRINT = 0.1
DAMPING = 0.25  # harmonics of degree d > 0 are multiplied by 0.1 * DAMPING^d; those of degree 0 are not
START_PIXELS = 0.6  # standard deviation in pixels of an untrained network's Gaussians, with `pixel_colour`


@dataclass(frozen=True)
class WorldGaussians:
    """G = V * H * W Gaussians per scene, view by view, rows first.

    means, scales: [B, G, 3].  quats: [B, G, 4], wxyz, world.  opacities: [B, G].
    harmonics: [B, G, (degree + 1)^2, 3], world axes, in the basis of MVSplat's code (see rotate_harmonics.py).
    """

    means: Tensor
    scales: Tensor
    quats: Tensor
    opacities: Tensor
    harmonics: Tensor


class GaussianAdapter(nn.Module):
    """Raw output -> Gaussians in the world. It has no weights, and is a module so that tests can hook its result."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config

    def forward(
        self, raw: Tensor, inverse_depth: Tensor, opacity: Tensor, images: Tensor, c2w: Tensor, K: Tensor
    ) -> WorldGaussians:
        """Make the Gaussians of all views.

        raw: [B * V, parameters, H, W].  inverse_depth, opacity: [B * V, 1, H, W].  images: [B, V, 3, H, W].
        c2w: [B, V, 4, 4].  K: [B, V, 3, 3], px.
        """
        config = self.config
        b, v, _, h, w = images.shape
        raw = raw.reshape(b, v, -1, h * w).transpose(2, 3)  # [B, V, P, parameters]
        depth = 1 / inverse_depth.reshape(b, v, h * w, 1)
        offset, scales, orientation, harmonics = raw.split([2, 3, 4, raw.shape[-1] - 9], -1)
        harmonics = harmonics.reshape(b, v, h * w, 3, -1).transpose(3, 4)  # [B, V, P, K, 3]
        harmonics = harmonics * self.damping(harmonics)
        if config.pixel_colour:
            # The head's last layer starts at zero. Then the Gaussian has its pixel's colour and the camera's axes.
            start = (START_PIXELS / (2 * FOOTPRINT) - config.scale_min) / (config.scale_max - config.scale_min)
            scales = scales + torch.logit(scales.new_tensor(start))
            orientation = orientation + orientation.new_tensor([0.0, 0.0, 0.0, 1.0])
            colour = (images.flatten(3).transpose(2, 3)[:, :, :, None] - 0.5) / C0
            harmonics = torch.cat([harmonics[..., :1, :] + colour, harmonics[..., 1:, :]], -2)

        means = self.points(offset, depth, c2w, K, (h, w))
        focal = K[..., (0, 1), (0, 1)][:, :, None]
        footprint = FOOTPRINT * depth * (1 / focal).sum(-1, keepdim=True)
        scales = (config.scale_min + (config.scale_max - config.scale_min) * torch.sigmoid(scales)) * footprint
        orientation = orientation / (orientation.norm(dim=-1, keepdim=True) + 1e-8)  # x, y, z, w, camera axes
        world = quaternions(c2w[..., :3, :3])[:, :, None]
        quats = quaternion_product(world, orientation[..., [3, 0, 1, 2]])
        harmonics = rotate(harmonics, c2w[..., :3, :3])
        return WorldGaussians(
            means.flatten(1, 2),
            scales.flatten(1, 2),
            quats.flatten(1, 2),
            opacity.reshape(b, -1),
            harmonics.flatten(1, 2),
        )

    def points(self, offset: Tensor, depth: Tensor, c2w: Tensor, K: Tensor, size: tuple[int, int]) -> Tensor:
        """World points [B, V, P, 3]: a pixel's ray, moved by up to half a pixel, times the depth.

        offset: [B, V, P, 2], raw.  depth: [B, V, P, 1], camera z; with "ray" the distance along the ray.
        """
        x, y = (pixel_centres(*size, K).flatten(0, 1)[:, i] + torch.sigmoid(offset[..., i]) - 0.5 for i in (0, 1))
        pixels = torch.stack([x, y, torch.ones_like(x)], -1)
        direction = torch.einsum("bvij,bvpj->bvpi", torch.linalg.inv(K), pixels)
        if self.config.depth_convention == "ray":
            direction = direction / direction.norm(dim=-1, keepdim=True)
        return torch.einsum("bvij,bvpj->bvpi", c2w[..., :3, :3], direction * depth) + c2w[..., None, :3, 3]

    def damping(self, like: Tensor) -> Tensor:
        """Factor of each coefficient, [K, 1]: 1 for degree 0, else 0.1 * 0.25^degree."""
        degrees = [degree for degree in range(self.config.sh_degree + 1) for _ in range(2 * degree + 1)]
        return like.new_tensor([0.1 * DAMPING**degree if degree else 1.0 for degree in degrees])[:, None]
