"""The two sizes of a pair: that of the result, in which detail is looked up, and that in which networks work.

The networks are trained on pictures with a short side of about 256 pixels, and geometry needs no more. Colours come
from the photographs in the size of the result (as in One Shot 3D Photography, Kopf et al. 2020).
"""

import torch.nn.functional as F
from torch import Tensor

from stages.geometry import resize_intrinsics
from stages.scene import Cameras, Views

# The student repairs at most this many frames. In a longer clip it repairs this many, evenly spaced.
MOST_FRAMES = 49
MOST_PIXELS = 500_000  # largest number of pixels of a picture that Gaussians are made from or refined on
NETWORK_SIDE = 256  # short side in which the networks of `small` work, px; they were trained on pictures of this size


def result_size(photograph: tuple[int, int], short_side: int | None) -> tuple[int, int]:
    """The size of the result (h, w): even sides in the proportions of a photograph, never above its own.

    photograph: (h, w), px.  short_side: px, or None for the size of the photograph.
    """
    scale = 1.0 if short_side is None else min(1.0, short_side / min(photograph))
    h, w = (max(2, 2 * round(side * scale / 2)) if scale < 1 else side // 2 * 2 for side in photograph)
    return h, w


def cloud_size(result: tuple[int, int]) -> tuple[int, int]:
    """The size (h, w) in which Gaussians are made and refined for a result of this size: at most MOST_PIXELS."""
    scale = min(1.0, (MOST_PIXELS / (result[0] * result[1])) ** 0.5)
    h, w = (max(1, round(side * scale)) for side in result)
    return h, w


def network_size(result: tuple[int, int], short_side: int | None = None) -> tuple[int, int]:
    """The size (h, w) in which networks work for a result of this size: at most that of the result.

    short_side: the short side for which the networks are made, px; None stands for NETWORK_SIDE.
    """
    scale = min(1.0, (short_side or NETWORK_SIDE) / min(result))
    h, w = (max(1, round(side * scale)) for side in result)
    return h, w


def resized_images(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images [N, 3, h, w] in [0, 1] in another size, bicubic with antialiasing. The whole of each image is kept."""
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images, size, mode="bicubic", antialias=True).clamp(0, 1)


def resized_cameras(cameras: Cameras, size: tuple[int, int]) -> Cameras:
    """The same cameras with an image of another size (h, w) that shows the same."""
    return Cameras(cameras.c2w, resize_intrinsics(cameras.K, cameras.size, size), size)


def with_small_images(views: Views, size: tuple[int, int] | None = None) -> Views:
    """Photographs in the size of the result -> the same with small images for the networks.

    size: (h, w) of the small images, such as that of known depth maps; None stands for `network_size`.
    """
    size = size or network_size(views.cameras.size)
    if size == views.cameras.size:
        return views
    return Views(resized_images(views.images, size), resized_cameras(views.cameras, size), full=views)
