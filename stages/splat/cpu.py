"""The C++ kernel behind three differentiable functions: project, harmonics, composite.

`fallback.py` has the same three in torch. All take and return dense CPU tensors with C cameras and N Gaussians.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from stages.splat import build

# Channel counts the kernel is compiled for; others are padded to the next, and more than 32 are drawn in turns.
CHANNELS = (1, 2, 3, 4, 8, 16, 32)
# The compositing backward works through the image in bands whose buffers stay near this size.
SLOT_BYTES = 1 << 30
# Below this many projected Gaussians a second thread costs more than it brings.
MIN_PARALLEL = 1 << 15
PIXEL_WORK = 8  # what a pixel costs to composite, in projected Gaussians

_POINTER, _INT, _LONG = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64


@cache
def kernel(dtype: torch.dtype) -> ctypes.CDLL:
    """The kernel for float32 or float64, compiled if need be. Raises build.CompileError, or OSError if it does not load."""
    return load(build.find_or_compile(double=dtype == torch.float64), dtype)


def load(path: Path, dtype: torch.dtype) -> ctypes.CDLL:
    """Load a compiled kernel and declare its functions. Raises OSError."""
    # After `import torch`, so that the kernel binds to the OpenMP runtime torch has loaded.
    library = ctypes.CDLL(str(path))
    real = ctypes.c_double if dtype == torch.float64 else ctypes.c_float
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "splat_project_forward": (None, [_LONG] * 2 + [_POINTER] * 6 + [_INT] * 2 + [real] * 4 + [_POINTER] * 5 + [_INT]),
        "splat_project_backward": (_INT, [_LONG] * 2 + [_POINTER] * 5 + [_INT] * 2 + [real] + [_POINTER] * 10 + [_INT]),
        "splat_harmonics_forward": (None, [_LONG] * 2 + [_INT] * 2 + [_POINTER] * 5 + [_INT]),
        "splat_harmonics_backward": (_INT, [_LONG] * 2 + [_INT] * 2 + [_POINTER] * 9 + [_INT]),
        "splat_plan": (_POINTER, [_LONG] * 2 + [_POINTER] * 5 + [_INT] * 3),
        "splat_plan_free": (None, [_POINTER]),
        "splat_composite_forward": (_INT, [_POINTER, _INT] + [_POINTER] * 4 + [_INT]),
        "splat_composite_backward": (_INT, [_POINTER, _INT] + [_POINTER] * 12 + [_LONG, _INT]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _dense(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(t.detach().contiguous() for t in tensors)


def _threads(work: int) -> int:
    return torch.get_num_threads() if work >= MIN_PARALLEL else 1


def _check(status: int) -> None:
    if status != 0:
        raise MemoryError("the Gaussian renderer ran out of memory")


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, viewmats: Tensor, Ks: Tensor,
                size: tuple[int, int], planes: tuple[float, float], eps2d: float, radius_clip: float,
                antialiased: bool) -> tuple[Tensor | None, ...]:  # fmt: skip
        means, quats, scales, opacities, viewmats, Ks = _dense(means, quats, scales, opacities, viewmats, Ks)
        c, n = viewmats.shape[0], means.shape[0]
        radii = torch.empty(c, n, 2, dtype=torch.int32)
        means2d, depths, factors = means.new_empty(c, n, 2), means.new_empty(c, n), means.new_empty(c, n, 3)
        compensations = means.new_empty(c, n) if antialiased else None
        inputs = (means, quats, scales, opacities, viewmats, Ks)
        outputs = (radii, means2d, depths, factors, compensations)
        kernel(means.dtype).splat_project_forward(
            c, n, *map(_pointer, inputs), *size, eps2d, *planes, radius_clip, *map(_pointer, outputs), _threads(c * n)
        )
        ctx.save_for_backward(means, quats, scales, viewmats, Ks, radii, compensations)
        ctx.size, ctx.eps2d = size, eps2d
        ctx.mark_non_differentiable(radii)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, _: Tensor, v_means2d: Tensor, v_depths: Tensor, v_factors: Tensor, v_compensations: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        means, quats, scales, viewmats, Ks, radii, compensations = ctx.saved_tensors
        c, n = viewmats.shape[0], means.shape[0]
        v_means2d, v_depths, v_factors = _dense(v_means2d, v_depths, v_factors)
        v_compensations = None if compensations is None or v_compensations is None else v_compensations.contiguous()
        v_means, v_quats, v_scales = torch.zeros_like(means), torch.zeros_like(quats), torch.zeros_like(scales)
        v_viewmats = torch.zeros_like(viewmats) if ctx.needs_input_grad[4] else None
        inputs = (means, quats, scales, viewmats, Ks)
        others = (radii, compensations, v_means2d, v_depths, v_factors, v_compensations, v_means, v_quats, v_scales, v_viewmats)
        _check(kernel(means.dtype).splat_project_backward(
            c, n, *map(_pointer, inputs), *ctx.size, ctx.eps2d, *map(_pointer, others), _threads(c * n)
        ))  # fmt: skip
        return v_means, v_quats, v_scales, None, v_viewmats, None, None, None, None, None, None


class _Harmonics(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, degree: int, means: Tensor, centres: Tensor, coefficients: Tensor, radii: Tensor) -> Tensor:
        means, centres, coefficients = _dense(means, centres, coefficients)
        c, n = centres.shape[0], means.shape[0]
        colours = means.new_empty(c, n, 3)
        tensors = (means, centres, coefficients, radii, colours)
        kernel(means.dtype).splat_harmonics_forward(c, n, degree, coefficients.shape[1], *map(_pointer, tensors), _threads(c * n))
        ctx.save_for_backward(*tensors)
        ctx.degree = degree
        return colours

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_colours: Tensor) -> tuple[Tensor | None, ...]:
        means, centres, coefficients, radii, colours = ctx.saved_tensors
        c, n = centres.shape[0], means.shape[0]
        v_colours = v_colours.contiguous()
        v_coefficients, v_means, v_centres = torch.empty_like(coefficients), torch.zeros_like(means), torch.empty_like(centres)
        tensors = (means, centres, coefficients, radii, colours, v_colours, v_coefficients, v_means, v_centres)
        _check(
            kernel(means.dtype).splat_harmonics_backward(c, n, ctx.degree, coefficients.shape[1], *map(_pointer, tensors), _threads(c * n))
        )
        return None, v_means, v_centres, v_coefficients, None


class _Plan:
    """Owns a plan of the kernel: the visible Gaussians by depth and by tile."""

    def __init__(self, library: ctypes.CDLL, handle: int) -> None:
        self._library, self.handle = library, handle

    def __del__(self) -> None:
        self._library.splat_plan_free(self.handle)


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means2d: Tensor, factors: Tensor, opacities: Tensor, colours: Tensor, backgrounds: Tensor | None, plan: _Plan,
                size: tuple[int, int], absgrad: bool) -> tuple[Tensor, Tensor]:  # fmt: skip
        factors, opacities, colours = _dense(factors, opacities, colours)
        backgrounds = None if backgrounds is None else backgrounds.detach().contiguous()
        c, _, d = colours.shape
        image, alpha = colours.new_empty(c, size[1], size[0], d), colours.new_empty(c, size[1], size[0], 1)
        tensors = (colours, backgrounds, image, alpha)
        threads = _threads(PIXEL_WORK * alpha.numel())
        _check(kernel(colours.dtype).splat_composite_forward(plan.handle, d, *map(_pointer, tensors), threads))
        ctx.save_for_backward(means2d, factors, opacities, colours, image, alpha)
        ctx.plan, ctx.absgrad = plan, absgrad
        return image, alpha

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_image: Tensor, v_alpha: Tensor) -> tuple[Tensor | None, ...]:
        means2d, factors, opacities, colours, image, alpha = ctx.saved_tensors
        v_image, v_alpha = _dense(v_image, v_alpha)
        outputs = [torch.zeros_like(t) for t in (means2d, factors, colours, opacities)]
        v_abs = torch.zeros_like(means2d) if ctx.absgrad else None
        tensors = (factors, opacities, colours, image, alpha, v_image, v_alpha, *outputs, v_abs)
        threads = _threads(PIXEL_WORK * alpha.numel())
        _check(kernel(colours.dtype).splat_composite_backward(
            ctx.plan.handle, colours.shape[-1], *map(_pointer, tensors), SLOT_BYTES, threads
        ))  # fmt: skip
        if ctx.absgrad:  # on the tensor itself, where gsplat's densification strategies look for it
            means2d.absgrad = v_abs
        v_means2d, v_factors, v_colours, v_opacities = outputs
        v_backgrounds = ((1 - alpha) * v_image).sum((1, 2)) if ctx.needs_input_grad[4] else None
        return v_means2d, v_factors, v_opacities, v_colours, v_backgrounds, None, None, None


def project(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    size: tuple[int, int],
    planes: tuple[float, float],
    eps2d: float,
    radius_clip: float,
    antialiased: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """Gaussians as seen by each camera (EWA splatting: Zwicker et al. 2001; gsplat 1.5.3 fully_fused_projection).

    means [N, 3], quats [N, 4], scales [N, 3], opacities [N], viewmats [C, 4, 4], Ks [C, 3, 3], size (width, height), planes (near, far).
    Returns radii [C, N, 2] int32 (px, 0 where unseen), means2d [C, N, 2] px, depths [C, N], factors [C, N, 3], and if antialiased
    compensations [C, N], else None. A factor (root_x, shear, root_y) gives the inverse 2D covariance as kernel.cpp says: U^T U with
    U = [[root_x, -root_x shear], [0, root_y]], px^-1.
    """
    result: tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None] = _Project.apply(
        means, quats, scales, opacities, viewmats, Ks, size, planes, eps2d, radius_clip, antialiased
    )
    return result


def harmonics(degree: int, means: Tensor, centres: Tensor, coefficients: Tensor, radii: Tensor) -> Tensor:
    """Colours [C, N, 3] = max(0, 1/2 + SH) seen from camera centres [C, 3]; coefficients [N, K, 3], K >= (degree + 1)^2."""
    result: Tensor = _Harmonics.apply(degree, means, centres, coefficients, radii)
    return result


def composite(
    means2d: Tensor,
    factors: Tensor,
    opacities: Tensor,
    colours: Tensor,
    backgrounds: Tensor | None,
    depths: Tensor,
    radii: Tensor,
    size: tuple[int, int],
    absgrad: bool,
) -> tuple[Tensor, Tensor]:
    """Blend the projected Gaussians front to back.

    opacities [C, N], colours [C, N, D], backgrounds [C, D] or None, the rest as `project` returns it.
    absgrad: set `means2d.absgrad` in the backward, the gradient with absolute values summed over pixels (D <= 32 only).
    Returns image [C, h, w, D] and alpha [C, h, w, 1].
    """
    library = kernel(colours.dtype)
    c, n, d = colours.shape
    if absgrad and d > CHANNELS[-1]:
        raise NotImplementedError(f"absgrad with {d} channels, at most {CHANNELS[-1]}")
    planned = _dense(depths, radii, means2d, factors, opacities)
    handle = library.splat_plan(c, n, *map(_pointer, planned), *size, _threads(c * n))
    if handle is None:
        raise MemoryError("the Gaussian renderer ran out of memory")
    plan = _Plan(library, handle)
    images, alpha = [], colours.new_empty(0)
    for first in range(0, d, CHANNELS[-1]):
        part = colours[..., first : first + CHANNELS[-1]]
        behind = None if backgrounds is None else backgrounds[..., first : first + CHANNELS[-1]]
        wanted = part.shape[-1]
        padding = next(k for k in CHANNELS if k >= wanted) - wanted
        if padding:
            part = torch.nn.functional.pad(part, (0, padding))
            behind = None if behind is None else torch.nn.functional.pad(behind, (0, padding))
        image, alpha = _Composite.apply(means2d, factors, opacities, part, behind, plan, size, absgrad)
        images.append(image[..., :wanted])
    return images[0] if len(images) == 1 else torch.cat(images, -1), alpha
