"""Calls of the C++ kernel for steps of a frame. What each step computes is stated at its reference in torch."""

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.splat import Drawing, backend
from stages.splat.cpu import kernel


def takes(image: Tensor) -> bool:
    """Whether the kernel is compiled and works on tensors like `image`: float32 on the CPU, without gradients."""
    plain = image.device.type == "cpu" and image.dtype == torch.float32 and not image.requires_grad
    return plain and backend("cpu") == "c++"


def packed(maps: Tensor) -> Tensor:
    """Maps [C, h, w] with at most 4 channels as [h, w, 4], float32, filled up with zeros. So a pixel is one vector."""
    return F.pad(maps.float(), (0, 0, 0, 0, 0, 4 - len(maps))).permute(1, 2, 0).contiguous()


def look_up(
    layer: Drawing,
    to_photograph: Tensor,
    photograph: Tensor,
    maps: tuple[Tensor, Tensor],
    moved: float,
    typical: float,
    windows: tuple[int, int],
    exposure: tuple[Tensor, Tensor],
) -> Tensor:
    """The image [3, h, w] of one frame of `Photograph.sharpened`; the arguments are explained in look_up.h.

    maps: first the offset (2 channels) and `usable` (1), then the light (3), both [h, w, 4], see `packed`.
    """
    image, alpha, depth = _copied(layer.image), layer.alpha.contiguous(), layer.depth.contiguous()
    matrix, gain, offset = (values.float().contiguous() for values in (to_photograph, *exposure))
    (h, w), (full_h, full_w), (small_h, small_w) = image.shape[-2:], photograph.shape[:2], maps[0].shape[:2]
    kernel(torch.float32).splat_look_up(
        w, h, *_pointers(image, alpha, depth, matrix, photograph), full_w, full_h, *_pointers(*maps), small_w, small_h,
        moved, typical, *windows, *_pointers(gain, offset), torch.get_num_threads(),
    )  # fmt: skip
    return image


def warp(
    depth: Tensor,
    to_photograph: Tensor,
    photograph: tuple[Tensor, Tensor, Tensor],
    moved: float,
    margin: float,
    nearness: float,
    exposure: tuple[Tensor, Tensor],
    out: tuple[Tensor, Tensor],
) -> None:
    """One photograph for one frame of `stages.video.warp.warp`; the arguments are explained in look_up.h.

    photograph: its colours and depth, its misalignment, and its light, [H, W, 4] each, see `packed`.
    out: [3, h, w] and [h, w], the colours and weights. (h, w) is the size of the frame, (H, W) of the photograph.
    """
    (h, w), (colours, weight) = depth.shape, out
    matrix, gain, offset = (values.float().contiguous() for values in (to_photograph, *exposure))
    kernel(torch.float32).splat_warp(
        w, h, *_pointers(colours, weight, depth, matrix, *photograph), photograph[0].shape[1], photograph[0].shape[0],
        moved, margin, nearness, *_pointers(gain, offset), torch.get_num_threads(),
    )  # fmt: skip


def close(layer: Drawing, radius: int, opaque: float, solid: float, one_surface: float) -> Drawing:
    """`surfaces.close` for N frames."""
    closed = Drawing(_copied(layer.image), _copied(layer.alpha), _copied(layer.depth))
    h, w = closed.alpha.shape[-2:]
    for frame in zip(closed.image, closed.alpha, closed.depth, strict=True):
        kernel(torch.float32).splat_close(
            w, h, *_pointers(*frame), radius, opaque, solid, one_surface, torch.get_num_threads()
        )
    return closed


def blend(first: Drawing, second: Drawing, nearness: Tensor, surface_alpha: float, behind: float) -> Drawing:
    """`layers.blend_layers` for N frames."""
    blended = Drawing(_copied(first.image), _copied(first.alpha), _copied(first.depth))
    other = Drawing(second.image.contiguous(), second.alpha.contiguous(), second.depth.contiguous())
    h, w = blended.alpha.shape[-2:]
    for n, near in enumerate(nearness.tolist()):
        layers = (maps[n] for drawing in (blended, other) for maps in (drawing.image, drawing.alpha, drawing.depth))
        kernel(torch.float32).splat_blend(
            w, h, *_pointers(*layers), *near, surface_alpha, behind, torch.get_num_threads()
        )
    return blended


def _copied(maps: Tensor) -> Tensor:
    """A dense copy, which the kernel may change."""
    return maps.clone(memory_format=torch.contiguous_format)


def _pointers(*tensors: Tensor) -> list[int]:
    """Addresses of the data of tensors, for ctypes. Raises ValueError unless they are dense and on the CPU."""
    if not all(tensor.is_contiguous() and tensor.device.type == "cpu" for tensor in tensors):
        raise ValueError("the kernel reads dense arrays on the CPU")
    return [tensor.data_ptr() for tensor in tensors]
