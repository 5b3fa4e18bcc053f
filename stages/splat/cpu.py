"""The three differentiable functions of the C++ kernel: project, harmonics, composite.

`fallback.py` has the same three in torch. All take and return dense CPU tensors for C cameras and N Gaussians. "v_x" is
the gradient of the loss with respect to x.
"""

import ctypes
import math
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from stages.splat import build

# The backward pass of compositing works through the image in bands of rows. The buffers of a band take at most about
# this many bytes.
SLOT_BYTES = 1 << 30
# The kernel uses one thread for fewer projected Gaussians than this, because a second would cost more than it saves.
MIN_PARALLEL = 1 << 15
# The cost of compositing one pixel, as a multiple of the cost of projecting one Gaussian.
PIXEL_WORK = 8

Size = tuple[int, int]  # width and height of an image, px

_POINTER, _INT, _LONG = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
_OUT_OF_MEMORY = 1  # a status of the kernel, from `enum Status` in threads.h


@cache
def kernel(dtype: torch.dtype) -> ctypes.CDLL:
    """The kernel for float32 or float64, compiled if necessary. Raises build.CompileError and OSError."""
    return load(build.find_or_compile(double=dtype == torch.float64), dtype)


def load(path: Path, dtype: torch.dtype) -> ctypes.CDLL:
    """Load a compiled kernel and declare its functions. Raises OSError."""
    # This happens after `import torch`, so that the kernel uses the OpenMP runtime that torch has loaded.
    library = ctypes.CDLL(str(path))
    real = ctypes.c_double if dtype == torch.float64 else ctypes.c_float
    signatures: dict[str, list[Any]] = {
        "splat_project_forward": [_LONG] * 2 + [_POINTER] * 6 + [_INT] * 2 + [real] + [_POINTER] * 4 + [_INT],
        "splat_project_backward": [_LONG] * 2 + [_POINTER] * 5 + [_INT] * 2 + [_POINTER] * 8 + [_INT],
        "splat_harmonics_forward": [_LONG] * 2 + [_INT] + [_POINTER] * 5 + [_INT],
        "splat_harmonics_backward": [_LONG] * 2 + [_INT] + [_POINTER] * 9 + [_INT],
        "splat_plan": [_LONG] * 2 + [_POINTER] * 5 + [_INT] * 2 + [_POINTER] + [_INT],
        "splat_composite_forward": [_POINTER] * 4 + [_INT],
        "splat_composite_backward": [_POINTER] * 12 + [_LONG, _INT],
        "splat_close": [_INT] * 2 + [_POINTER] * 3 + [_INT] + [real] * 3 + [_INT],
        "splat_blend": [_INT] * 2 + [_POINTER] * 6 + [real] * 4 + [_INT],
        "splat_look_up": (
            [_INT] * 2 + [_POINTER] * 5 + [_INT] * 2 + [_POINTER] * 2 + [_INT] * 2 + [real] * 2 + [_INT] * 2
            + [_POINTER] * 2 + [_INT]
        ),
        "splat_warp": [_INT] * 2 + [_POINTER] * 7 + [_INT] * 2 + [real] * 3 + [_POINTER] * 2 + [_INT],
    }  # fmt: skip
    for name, arguments in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes, function.errcheck = _INT, arguments, _check
    library.splat_plan_free.restype, library.splat_plan_free.argtypes = None, [_POINTER]
    return library


def _check(status: int, function: Any, arguments: tuple[Any, ...]) -> None:
    """Raise the error that a kernel function's status stands for. ctypes calls this after every call."""
    if status == _OUT_OF_MEMORY:
        raise MemoryError("the Gaussian renderer ran out of memory")
    if status != 0:
        raise RuntimeError(f"{function.__name__} of the Gaussian renderer failed with status {status}")


def _pointers(*tensors: Tensor | None) -> list[int | None]:
    """Addresses of the tensors' data, for ctypes."""
    return [None if tensor is None else tensor.data_ptr() for tensor in tensors]


def _dense(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(t.detach().contiguous() for t in tensors)


def _threads(work: int) -> int:
    """Number of threads for `work`, measured in projected Gaussians."""
    return torch.get_num_threads() if work >= MIN_PARALLEL else 1


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, views: Tensor, Ks: Tensor,
        size: Size, near: float,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        means, quats, scales, opacities, views, Ks = _dense(means, quats, scales, opacities, views, Ks)
        c, n = views.shape[0], means.shape[0]
        radii = torch.empty(c, n, 2, dtype=torch.int32)
        means2d, depths, factors = means.new_empty(c, n, 2), means.new_empty(c, n), means.new_empty(c, n, 3)
        inputs = _pointers(means, quats, scales, opacities, views, Ks)
        outputs = _pointers(radii, means2d, depths, factors)
        kernel(means.dtype).splat_project_forward(c, n, *inputs, *size, near, *outputs, _threads(c * n))
        ctx.save_for_backward(means, quats, scales, views, Ks, radii)
        ctx.size = size
        ctx.mark_non_differentiable(radii)
        return radii, means2d, depths, factors

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, _: Tensor, v_means2d: Tensor, v_depths: Tensor, v_factors: Tensor
    ) -> tuple[Tensor | None, ...]:
        means, quats, scales, views, Ks, radii = ctx.saved_tensors
        c, n = views.shape[0], means.shape[0]
        v_means2d, v_depths, v_factors = _dense(v_means2d, v_depths, v_factors)
        v_means, v_quats, v_scales = torch.zeros_like(means), torch.zeros_like(quats), torch.zeros_like(scales)
        v_views = torch.zeros_like(views) if ctx.needs_input_grad[4] else None
        inputs = _pointers(means, quats, scales, views, Ks)
        others = _pointers(radii, v_means2d, v_depths, v_factors, v_means, v_quats, v_scales, v_views)
        kernel(means.dtype).splat_project_backward(c, n, *inputs, *ctx.size, *others, _threads(c * n))
        return v_means, v_quats, v_scales, None, v_views, None, None, None


class _Harmonics(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means: Tensor, centres: Tensor, coefficients: Tensor, radii: Tensor) -> Tensor:
        means, centres, coefficients = _dense(means, centres, coefficients)
        c, n = centres.shape[0], means.shape[0]
        colours = means.new_empty(c, n, 3)
        tensors = (means, centres, coefficients, radii, colours)
        ctx.save_for_backward(*tensors)
        ctx.degree = math.isqrt(coefficients.shape[1]) - 1
        kernel(means.dtype).splat_harmonics_forward(c, n, ctx.degree, *_pointers(*tensors), _threads(c * n))
        return colours

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_colours: Tensor) -> tuple[Tensor | None, ...]:
        means, centres, coefficients, radii, colours = ctx.saved_tensors
        c, n = centres.shape[0], means.shape[0]
        v_colours = v_colours.contiguous()
        v_coefficients, v_means = torch.empty_like(coefficients), torch.zeros_like(means)
        v_centres = torch.empty_like(centres)
        tensors = (means, centres, coefficients, radii, colours, v_colours, v_coefficients, v_means, v_centres)
        kernel(means.dtype).splat_harmonics_backward(c, n, ctx.degree, *_pointers(*tensors), _threads(c * n))
        return v_means, v_centres, v_coefficients, None


class _Plan:
    """Owns a plan of the kernel: the visible Gaussians of every tile, sorted by depth."""

    def __init__(
        self, means2d: Tensor, factors: Tensor, opacities: Tensor, depths: Tensor, radii: Tensor, size: Size
    ) -> None:
        c, n = depths.shape
        self._library, self.handle = kernel(means2d.dtype), ctypes.c_void_p()
        tensors = _dense(depths, radii, means2d, factors, opacities)  # must live until the call returns
        self._library.splat_plan(c, n, *_pointers(*tensors), *size, ctypes.byref(self.handle), _threads(c * n))

    def __del__(self) -> None:
        self._library.splat_plan_free(self.handle)


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, means2d: Tensor, factors: Tensor, opacities: Tensor, colours: Tensor, plan: _Plan, size: Size
    ) -> tuple[Tensor, Tensor]:
        factors, opacities, colours = _dense(factors, opacities, colours)
        c, _, channels = colours.shape
        image, alpha = colours.new_empty(c, size[1], size[0], channels), colours.new_empty(c, size[1], size[0], 1)
        threads = _threads(PIXEL_WORK * alpha.numel())
        kernel(colours.dtype).splat_composite_forward(plan.handle, *_pointers(colours, image, alpha), threads)
        ctx.save_for_backward(factors, opacities, colours, image, alpha)
        ctx.plan = plan
        return image, alpha

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_image: Tensor, v_alpha: Tensor) -> tuple[Tensor | None, ...]:
        factors, opacities, colours, image, alpha = ctx.saved_tensors
        v_image, v_alpha = _dense(v_image, v_alpha)
        outputs = [torch.zeros_like(t) for t in (factors[..., :2], factors, colours, opacities)]
        pointers = _pointers(factors, opacities, colours, image, alpha, v_image, v_alpha, *outputs)
        threads = _threads(PIXEL_WORK * alpha.numel())
        kernel(colours.dtype).splat_composite_backward(ctx.plan.handle, *pointers, SLOT_BYTES, threads)
        v_means2d, v_factors, v_colours, v_opacities = outputs
        return v_means2d, v_factors, v_opacities, v_colours, None, None


def project(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, views: Tensor, Ks: Tensor, size: Size, near: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Project Gaussians into each camera (EWA splatting, Zwicker et al. 2001; gsplat 1.5.3, `fully_fused_projection`).

    means: [N, 3].  quats: [N, 4].  scales: [N, 3].  opacities: [N].  views: [C, 4, 4], world-to-camera.
    Ks: [C, 3, 3], px.  size: (width, height), px.  near: smallest camera z that is rendered, scene units.
    Returns radii [C, N, 2], int32, px, 0 if not visible; means2d [C, N, 2], px; depths [C, N]; factors [C, N, 3].
    A factor (root_x, shear, root_y) stands for the inverse 2D covariance U^T U (kernel.cpp), where
    U = [[root_x, -root_x shear], [0, root_y]], px^-1.
    """
    radii, means2d, depths, factors = _Project.apply(means, quats, scales, opacities, views, Ks, size, near)
    return radii, means2d, depths, factors


def harmonics(means: Tensor, centres: Tensor, coefficients: Tensor, radii: Tensor) -> Tensor:
    """Colours of Gaussians in each camera, [C, N, 3], which are max(0, 1/2 + SH).

    means: [N, 3].  centres: [C, 3], of the cameras.  coefficients: [N, (degree + 1)^2, 3], degree 0 to 4.
    radii: [C, N, 2], from `project`.
    """
    result: Tensor = _Harmonics.apply(means, centres, coefficients, radii)
    return result


def composite(
    means2d: Tensor, factors: Tensor, opacities: Tensor, colours: Tensor, depths: Tensor, radii: Tensor, size: Size
) -> tuple[Tensor, Tensor]:
    """Blend projected Gaussians from front to back.

    opacities: [C, N].  colours: [C, N, 4], red, green, blue and depth.  size: (width, height), px.  The others are
    results of `project`.  Returns image [C, h, w, 4] and alpha [C, h, w, 1].
    """
    plan = _Plan(means2d, factors, opacities, depths, radii, size)
    result: tuple[Tensor, Tensor] = _Composite.apply(means2d, factors, opacities, colours, plan, size)
    return result
