"""Whether a clip shows one rigid scene from its cameras: matches between its frames must fit them (paper, Figure 5)."""

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from stages.geometry import fundamental_of, homogeneous
from stages.scene import Cameras

GOOD, DISCARDED = (40, 200, 60), (220, 50, 40)  # colours of the lines of good and discarded matches, 8-bit RGB


def epipolar_distance(points_a: Tensor, points_b: Tensor, cameras: Cameras) -> Tensor:
    """Distance of matches from the epipolar lines of given cameras, px (Hartley and Zisserman 2004, section 11.4.3).

    points_a, points_b: [M, 2], px in the first and second camera.
    Returns [M], float64: each point's distance from the epipolar line of its match, averaged over the two images.
    """
    F = fundamental_of(cameras.c2w.double(), cameras.K.double())
    a, b = homogeneous(points_a.double()), homogeneous(points_b.double())
    lines_b, lines_a = a @ F.T, b @ F
    residual = (b * lines_b).sum(1).abs()
    return (residual / lines_b[:, :2].norm(dim=1) + residual / lines_a[:, :2].norm(dim=1)) / 2


def triangulated_depth(points_a: Tensor, points_b: Tensor, cameras: Cameras) -> Tensor:
    """Camera z, in the first camera, of the point nearest to both rays of each match, scene units, [M], float64.

    It is not positive, or not finite, where the rays do not meet in front of the camera.
    """
    K, c2w = cameras.K.double(), cameras.c2w.double()
    rays, centres = [], c2w[:, :3, 3]
    for points, k, pose in zip((points_a, points_b), K, c2w, strict=True):
        rays.append(homogeneous(points.double()) @ torch.linalg.inv(k).T @ pose[:3, :3].T)
    a, b = rays
    between = (centres[1] - centres[0]).expand_as(a)
    aa, ab, bb = (a * a).sum(1), (a * b).sum(1), (b * b).sum(1)
    return ((a * between).sum(1) * bb - (b * between).sum(1) * ab) / (aa * bb - ab * ab)


def plot_matches(image_a: Tensor, image_b: Tensor, points_a: Tensor, points_b: Tensor, good: Tensor) -> Tensor:
    """Both images side by side with one line per match, green if it is good and red if it is discarded.

    image_a, image_b: [3, h, w] in [0, 1].  points_a, points_b: [M, 2], px.  good: [M], bool.  Returns [3, h, 2 w].
    """
    both = torch.cat([image_a, image_b], 2).clamp(0, 1)
    picture = Image.fromarray((both * 255).round().byte().permute(1, 2, 0).cpu().numpy())
    pen = ImageDraw.Draw(picture)
    shift = image_a.shape[2]
    matches = zip(points_a.tolist(), points_b.tolist(), good.tolist(), strict=True)
    for (x_a, y_a), (x_b, y_b), is_good in sorted(matches, key=lambda match: match[2]):  # good ones last, on top
        pen.line([(x_a, y_a), (x_b + shift, y_b)], GOOD if is_good else DISCARDED)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
