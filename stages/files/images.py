"""Photographs and PNG files.

Whatever a camera or an editor wrote, read_image returns upright sRGB, float32 in [0, 1], channels first.
"""

import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from stages.errors import InputError, RunError
from stages.files.colour_profiles import in_srgb
from stages.files.image_decoding import MAX_PIXELS, decode
from stages.files.os_errors import writing
from stages.geometry import crop_intrinsics, resize_intrinsics

MIN_SIDE = 32  # px; a photograph with a shorter side has too little detail to find matches


def read_image(path: Path, min_side: int = MIN_SIDE) -> Tensor:
    """Read a photograph as [3, h, w], float32 sRGB in [0, 1], rotated as its EXIF says.

    Grey and palette images become RGB. 16-bit grey keeps its 16 bits, but Pillow drops the low byte of 16-bit
    colour, an error of at most 1/257. Alpha is dropped, not blended, because blending would add a background that was
    never photographed. Colours of another profile, such as Display P3, are converted to sRGB, except 16-bit grey.

    Raises InputError if the file is missing, a folder, not an image, damaged, cut off, a raw file or too large; and if
    the image has pixels that are not square, 32 bits per channel, or a side below min_side px.
    """
    image = decode(path)
    width, height = image.size
    if min(width, height) < min_side:
        hint = f"give a photograph whose sides have at least {min_side} pixels"
        raise InputError(f"cannot use {path}", f"{width} x {height} pixels", hint)
    if image.mode.startswith("I"):
        grey = torch.from_numpy(np.asarray(image).astype(np.float32) / 65535.0)
        return grey.clamp(0, 1).expand(3, -1, -1).contiguous()
    pixels = np.array(in_srgb(image, path).convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float().div_(255.0)


def read_gray(path: Path) -> Tensor:
    """Read an 8-bit grey image (a coverage map) as [h, w], float32 in [0, 1].

    Raises InputError as read_image does, and if the image is not 8-bit grey.
    """
    image = decode(path)
    if image.mode != "L":
        why = f"it is a {image.mode} image, not an 8-bit grey one"
        raise InputError(f"cannot use {path}", why, "convert it to 8-bit grey")
    return torch.from_numpy(np.array(image)).float() / 255.0


def write_png(path: Path, image: Tensor) -> None:
    """Write [3, h, w], in [0, 1] or uint8, as an 8-bit RGB PNG. Creates parent folders.

    Raises RunError on NaN or a full disk.
    """
    _save(path, as_bytes(image, path).cpu().permute(1, 2, 0).contiguous().numpy())


def write_gray_png(path: Path, image: Tensor) -> None:
    """Write [h, w], in [0, 1] or uint8, as an 8-bit grey PNG. Creates parent folders.

    Raises RunError on NaN or a full disk.
    """
    _save(path, as_bytes(image, path).cpu().numpy())


def as_bytes(image: Tensor, path: Path | str = "a PNG") -> Tensor:
    """An image in [0, 1] as uint8, clamped and rounded, on its device. One of uint8 stays as it is.

    Raises RunError on NaN, which would become an arbitrary colour. path: the file that the message names.
    """
    if image.dtype == torch.uint8:
        return image
    image = image.detach()
    _require_finite(image, path)
    return image.clamp(0, 1).mul_(255.0).round_().to(torch.uint8)


def as_in_png(images: Tensor) -> Tensor:
    """The values, float32, that 8-bit PNGs of images or maps in [0, 1] give back, on their device.

    Measured this way, frames in memory and the same frames read from disk have exactly equal values.
    Raises RunError on NaN.
    """
    images = images.detach().float()
    _require_finite(images, "a PNG")
    return images.clamp(0, 1).mul_(255.0).round_().div_(255.0)


def _require_finite(images: Tensor, what: Path | str) -> None:
    if not bool(torch.isfinite(images).all()):
        why, hint = "the image holds NaN or infinite values", "report this: no stage should produce them"
        raise RunError(f"cannot write {what}", why, hint)


def _save(path: Path, pixels: np.ndarray) -> None:
    # Run-length zlib at level 1 is 3 times as fast as Pillow's default on photographs, and the files are no larger.
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, format="PNG", compress_level=1, compress_type=zlib.Z_RLE)


def fitted_sizes(size: tuple[int, int], short_side: int, multiple: int = 16) -> tuple[tuple[int, int], tuple[int, int]]:
    """The size of an image after the resize of `fit`, and after its crop. All sizes are (h, w), px."""
    scale = short_side / min(size)
    h, w = (round(side * scale) for side in size)
    return (h, w), (h // multiple * multiple, w // multiple * multiple)


def fit(image: Tensor, K: Tensor, short_side: int, multiple: int = 16) -> tuple[Tensor, Tensor]:
    """Resize so that the shorter side is `short_side`, then crop both sides, centred, to multiples of `multiple`.

    image: [3, h, w].  K: [3, 3], px of that image.  Returns the new image and its K.
    The resize is bicubic with antialiasing, may enlarge, and keeps the aspect ratio to half a pixel. K fits it exactly.
    Raises InputError if a side would become 0 or the image too large.
    """
    height, width = image.shape[-2:]
    new_size, crop_size = fitted_sizes((height, width), short_side, multiple)
    if min(crop_size) < 1:
        raise InputError("bad size", f"a short side of {short_side} px", f"give at least {multiple} px")
    if new_size[0] * new_size[1] > MAX_PIXELS:
        why = f"the resized image would have {new_size[1]} x {new_size[0]} pixels"
        raise InputError("bad size", why, f"stay below {MAX_PIXELS // 10**6} million pixels")
    if new_size != (height, width):
        image = F.interpolate(image[None], new_size, mode="bicubic", align_corners=False, antialias=True)[0].clamp(0, 1)
    top, left = (new_size[0] - crop_size[0]) // 2, (new_size[1] - crop_size[1]) // 2
    image = image[:, top : top + crop_size[0], left : left + crop_size[1]].contiguous()
    return image, crop_intrinsics(resize_intrinsics(K, (height, width), new_size), left, top)
