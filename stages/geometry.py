"""Geometry of pinhole cameras: pixel grids, projection, fundamental matrices, rotations, intrinsics of resized images.

All functions are differentiable and keep dtype and device. The conventions are in stages/scene.py.
"""

import torch
from torch import Tensor

from stages.scene import Cameras


def pixel_centres(height: int, width: int, like: Tensor) -> Tensor:
    """Homogeneous pixel centres (x + 0.5, y + 0.5, 1), [h, w, 3], with the dtype and device of `like`."""
    y = torch.arange(height, dtype=like.dtype, device=like.device) + 0.5
    x = torch.arange(width, dtype=like.dtype, device=like.device) + 0.5
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([grid_x, grid_y, torch.ones_like(grid_x)], -1)


def rays(K: Tensor, size: tuple[int, int]) -> Tensor:
    """Ray through each pixel centre in camera axes, scaled to z = 1.

    K: [..., 3, 3], px.  size: (h, w).  Returns [..., h, w, 3].
    """
    grid = pixel_centres(*size, like=K)
    return torch.einsum("...ij,hwj->...hwi", torch.linalg.inv(K), grid)


def unproject(depth: Tensor, K: Tensor, c2w: Tensor) -> Tensor:
    """The world points that a depth map shows.

    depth: [..., h, w], camera z.  K: [..., 3, 3], px.  c2w: [..., 4, 4].  Returns [..., h, w, 3].
    """
    points = rays(K, (depth.shape[-2], depth.shape[-1])) * depth[..., None]
    return torch.einsum("...ij,...hwj->...hwi", c2w[..., :3, :3], points) + c2w[..., None, None, :3, 3]


def project(points: Tensor, K: Tensor, c2w: Tensor) -> tuple[Tensor, Tensor]:
    """Project world points into a camera.

    points: [P, 3].  K: [3, 3], px.  c2w: [4, 4].
    Returns pixel positions [P, 2] and camera z [P]. Positions mean nothing where z <= 0.
    """
    camera = (points - c2w[:3, 3]) @ c2w[:3, :3]
    z = camera[:, 2]
    pixels = camera @ K.mT
    return pixels[:, :2] / z[:, None], z


def reproject(depth: Tensor, K: Tensor, c2w: Tensor, to_K: Tensor, to_c2w: Tensor) -> tuple[Tensor, Tensor]:
    """Where another camera sees the points that depth maps show.

    depth: [..., h, w], camera z.  K: [..., 3, 3], px.  c2w: [..., 4, 4].  to_K: [3, 3], px, and to_c2w: [4, 4], of the
    other camera.  Returns pixel positions [..., h, w, 2] and camera z [..., h, w]. See `project`.
    """
    pixels, z = project(unproject(depth, K, c2w).reshape(-1, 3), to_K, to_c2w)
    return pixels.view(*depth.shape, 2), z.view(depth.shape)


def depth_of(points: Tensor, c2w: Tensor) -> Tensor:
    """Camera z of world points. points: [..., P, 3].  c2w: [..., 4, 4].  Returns [..., P]."""
    return ((points - c2w[..., None, :3, 3]) * c2w[..., None, :3, 2]).sum(-1)


def sampling_grid(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Coordinates for `grid_sample` (align_corners=False) of pixel positions [..., 2] in an image of `size` (h, w).

    Inside the image they are in (-1, 1). They are clamped to [-2, 2], and NaN becomes 0.
    """
    h, w = size
    return (2 * pixels / pixels.new_tensor([w, h]) - 1).nan_to_num().clamp(-2, 2)


def homogeneous(points: Tensor) -> Tensor:
    """Append 1 to each point: [M, 2] -> [M, 3]."""
    return torch.cat([points, torch.ones_like(points[:, :1])], 1)


def fundamental(rotation: Tensor, translation: Tensor, K: Tensor) -> Tensor:
    """Fundamental matrix K_b^-T [t]x R K_a^-1, [3, 3], where x_b = R x_a + t. R: [3, 3].  t: [3].  K: [2, 3, 3], px."""
    return torch.linalg.inv(K[1]).mT @ cross_matrix(translation) @ rotation @ torch.linalg.inv(K[0])


def fundamental_of(c2w: Tensor, K: Tensor) -> Tensor:
    """Fundamental matrix [3, 3] of two posed cameras. c2w: [2, 4, 4].  K: [2, 3, 3], px."""
    b_from_a = torch.linalg.inv(c2w[1]) @ c2w[0]
    return fundamental(b_from_a[:3, :3], b_from_a[:3, 3], K)


def cross_matrix(vectors: Tensor) -> Tensor:
    """[v]x, the matrix [..., 3, 3] whose product with a vector u is v x u. vectors: v, [..., 3]."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    rows = ((zero, -z, y), (z, zero, -x), (-y, x, zero))
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def turned_by(vectors: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] of rotation vectors [..., 3]: axis times angle, radians."""
    return torch.linalg.matrix_exp(cross_matrix(vectors))


def rotations(quaternions: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] of quaternions [..., 4], wxyz, of any length above 0."""
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=-1).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def quaternions(rotation: Tensor) -> Tensor:
    """Unit quaternions [..., 4], wxyz, of rotation matrices [..., 3, 3]. Differentiable for every rotation."""
    # Each of four rows is the quaternion times four times one of its own components. The longest row is the safest to
    # normalise.
    m = rotation
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    rows = [
        torch.stack([1 + xx + yy + zz, wx, wy, wz], -1),
        torch.stack([wx, 1 + xx - yy - zz, xy, xz], -1),
        torch.stack([wy, xy, 1 - xx + yy - zz, yz], -1),
        torch.stack([wz, xz, yz, 1 - xx - yy + zz], -1),
    ]
    candidates = torch.stack(rows, -2)
    best = candidates.diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = torch.take_along_dim(candidates, best[..., None, None], -2)[..., 0, :]
    return row / row.norm(dim=-1, keepdim=True)


def quaternion_product(a: Tensor, b: Tensor) -> Tensor:
    """The quaternion of rotation b followed by rotation a. a, b: [..., 4], wxyz."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    w = aw * bw - ax * bx - ay * by - az * bz
    x = aw * bx + ax * bw + ay * bz - az * by
    y = aw * by - ax * bz + ay * bw + az * bx
    z = aw * bz + ax * by - ay * bx + az * bw
    return torch.stack([w, x, y, z], -1)


def covariances(quats: Tensor, scales: Tensor) -> Tensor:
    """Covariances R S S R^T of Gaussians, [N, 3, 3]. quats: [N, 4], wxyz.  scales: [N, 3], standard deviations."""
    root = rotations(quats) * scales[:, None, :]
    return root @ root.mT


def distance_to_cameras(means: Tensor, cameras: Cameras) -> Tensor:
    """Distance of each point from the nearest camera, [G], scene units, at least 1e-6. means: the points, [G, 3].

    Divided by the focal length in pixels, it is the width that one pixel covers there.
    """
    points, nearest = means.double(), means.new_full((len(means),), torch.inf, dtype=torch.float64)
    for centres in cameras.c2w[:, :3, 3].to(points).split(16):  # a few at a time: a path may have thousands of cameras
        nearest = nearest.minimum(torch.cdist(points, centres).amin(1))
    return nearest.clamp_min(1e-6).to(means)


def resize_intrinsics(K: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Intrinsics after the whole image is resized from `old` to `new`, both (h, w). K: [..., 3, 3], px."""
    scale = K.new_tensor([[new[1] / old[1]], [new[0] / old[0]], [1.0]])
    return K * scale


def crop_intrinsics(K: Tensor, left: float, top: float) -> Tensor:
    """Intrinsics after `left` columns and `top` rows of pixels are cut off. K: [..., 3, 3], px."""
    K = K.clone()
    K[..., 0, 2] -= left
    K[..., 1, 2] -= top
    return K
