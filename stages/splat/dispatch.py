"""One renderer, three backends: gsplat on CUDA, the C++ kernel on the CPU, torch where the kernel cannot be built."""

from __future__ import annotations

import warnings
from functools import cache
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.splat import build, cpu, fallback
from stages.splat.harmonics import MAX_DEGREE

MAX_SIDE = 1 << 16  # the kernel keeps pixel numbers in 16 bits
RENDER_MODES = ("RGB", "D", "ED", "RGB+D", "RGB+ED")


def backend(device: torch.device | str) -> str:
    """Which renderer tensors on `device` go to: "gsplat" (CUDA), "c++" or "torch". Compiles the C++ kernel if it is not there yet."""
    if torch.device(device).type == "cuda":
        return "gsplat"
    return "c++" if _implementation(torch.float32) is cpu else "torch"


@cache
def _implementation(dtype: torch.dtype) -> ModuleType:
    """The module with `project`, `harmonics` and `composite` for CPU tensors; warns once if it is the slow one."""
    try:
        cpu.kernel(dtype)
    except (build.CompileError, OSError) as error:
        reason = str(error).splitlines()[0]
        lost = "rendering runs in torch: the same images, about 40 times slower"
        warnings.warn(f"{lost}; the C++ kernel is missing ({reason}), install a compiler such as g++", RuntimeWarning, stacklevel=3)
        return fallback
    return cpu


def rasterization(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    packed: bool = True,
    tile_size: int = 16,
    backgrounds: Tensor | None = None,
    render_mode: str = "RGB",
    sparse_grad: bool = False,
    absgrad: bool = False,
    rasterize_mode: str = "classic",
    channel_chunk: int = 32,
    distributed: bool = False,
    camera_model: str = "pinhole",
    segmented: bool = False,
    covars: Tensor | None = None,
    with_ut: bool = False,
    with_eval3d: bool = False,
    **distortion: Any,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Render Gaussians from C cameras: gsplat 1.5.3 `rasterization` with its signature and image model, on any device.

    means: [N, 3].  quats: [N, 4] wxyz, any length.  scales: [N, 3].  opacities: [N].  colors: [N, D] or [C, N, D], or with `sh_degree`
    (0 to 4) harmonics [N, K, 3] or [C, N, K, 3].  viewmats: [C, 4, 4] world to camera, OpenCV axes.  Ks: [C, 3, 3], px.
    backgrounds: [C, D].  render_mode: RGB, D (accumulated z), ED (expected z), RGB+D, RGB+ED.  rasterize_mode: classic, antialiased.
    near_plane, far_plane: camera z.  radius_clip: Gaussians of at most this radius are skipped, px.  eps2d: blur of the footprint, px^2.

    Returns image [C, h, w, X], alpha [C, h, w, 1] and a dict of intermediates: radii [C, N, 2] (0 where unseen), means2d [C, N, 2], depths
    [C, N], conics [C, N, 3], opacities [C, N]. With absgrad, `means2d.absgrad` is set by the backward.

    On the CPU: differentiable in everything but Ks, whatever is culled gets gradient 0, gradients are bitwise the same for any number of
    threads; packed, sparse_grad, tile_size, channel_chunk and segmented change nothing. CUDA tensors go to gsplat unchanged.

    Raises ValueError for shapes that do not fit, NotImplementedError for what only gsplat's CUDA code can do (other camera models,
    distortion, covariances in place of quats and scales, several GPUs), MemoryError.
    """
    if means.is_cuda:
        from gsplat.rendering import rasterization as gsplat_rasterization

        image, alpha, meta = gsplat_rasterization(
            means, quats, scales, opacities, colors, viewmats, Ks, width, height, near_plane, far_plane, radius_clip, eps2d, sh_degree,
            packed, tile_size, backgrounds, render_mode, sparse_grad, absgrad, rasterize_mode, channel_chunk, distributed, camera_model,
            segmented, covars, with_ut, with_eval3d, **distortion,
        )  # fmt: skip
        return image, alpha, meta

    unsupported = {
        "distributed": distributed,
        "with_ut": with_ut,
        "with_eval3d": with_eval3d,
        "covars": covars is not None,
        f"camera_model={camera_model!r}": camera_model != "pinhole",
        **{name: value is not None for name, value in distortion.items()},
    }
    for name, asked in unsupported.items():
        if asked:
            raise NotImplementedError(f"{name} is not available on the CPU; gsplat offers it on CUDA")
    if not (0 < width < MAX_SIDE and 0 < height < MAX_SIDE):
        raise ValueError(f"width and height are {width} and {height}, expected 1 to {MAX_SIDE - 1}")
    c, n = viewmats.shape[0], means.shape[0]
    _check_shapes(means, quats, scales, opacities, colors, viewmats, Ks, sh_degree, backgrounds)
    if render_mode not in RENDER_MODES:
        raise ValueError(f"render_mode is {render_mode!r}, not one of {', '.join(RENDER_MODES)}")
    if rasterize_mode not in ("classic", "antialiased"):
        raise ValueError(f"rasterize_mode is {rasterize_mode!r}, neither classic nor antialiased")

    implementation = _implementation(means.dtype)
    antialiased = rasterize_mode == "antialiased"
    size, planes = (width, height), (near_plane, far_plane)
    radii, means2d, depths, factors, compensations = implementation.project(
        means, quats, scales, opacities, viewmats, Ks, size, planes, eps2d, radius_clip, antialiased
    )
    seen = opacities.expand(c, n) if compensations is None else opacities * compensations

    with_depth, only_depth = render_mode != "RGB", render_mode in ("D", "ED")
    if only_depth:
        colours, behind = depths[..., None], None
    else:
        colours, behind = _colours(implementation, means, colors, viewmats, radii, sh_degree), backgrounds
        if with_depth:
            colours = torch.cat([colours, depths[..., None]], -1)
            behind = None if behind is None else F.pad(behind, (0, 1))
    image, alpha = implementation.composite(means2d, factors, seen, colours, behind, depths, radii, size, absgrad)
    if render_mode in ("ED", "RGB+ED"):
        image = torch.cat([image[..., :-1], image[..., -1:] / alpha.clamp_min(1e-10)], -1)
    meta = {
        **{"batch_ids": None, "camera_ids": None, "gaussian_ids": None},  # gsplat's packed form is not used here
        **{"radii": radii, "means2d": means2d, "depths": depths, "conics": _conics(factors), "opacities": seen},
        **{"width": width, "height": height, "n_cameras": c},
    }
    return image, alpha, meta


def _conics(factors: Tensor) -> Tensor:
    """Entries xx, xy, yy of the inverse 2D covariances [C, N, 3], gsplat's form of the factors that cpu.project returns."""
    root_x, shear, root_y = factors.unbind(-1)
    xx = root_x * root_x
    return torch.stack([xx, -xx * shear, xx * shear * shear + root_y * root_y], -1)


def _colours(implementation: ModuleType, means: Tensor, colors: Tensor, viewmats: Tensor, radii: Tensor, sh_degree: int | None) -> Tensor:
    """Colours as each camera sees them, [C, N, D]."""
    c = viewmats.shape[0]
    if sh_degree is None:
        return colors.expand(c, *colors.shape[-2:])
    # The inverse rather than -R^T t: as gsplat has it, to the last digit.
    centres = torch.linalg.inv(viewmats)[:, :3, 3]
    if colors.dim() == 3:
        harmonics: Tensor = implementation.harmonics(sh_degree, means, centres, colors, radii)
        return harmonics
    return torch.cat([implementation.harmonics(sh_degree, means, centres[i : i + 1], colors[i], radii[i : i + 1]) for i in range(c)])


def _check_shapes(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    sh_degree: int | None,
    backgrounds: Tensor | None,
) -> None:
    """Everything the kernel reads by address must have the size it expects. Raises ValueError."""
    c, n = viewmats.shape[0], means.shape[0]
    if sh_degree is None:
        d = colors.shape[-1]
        colour_shapes: tuple[tuple[int, ...], ...] = ((n, d), (c, n, d))
    else:
        k = colors.shape[-2] if colors.dim() > 2 else 0
        if not 0 <= sh_degree <= MAX_DEGREE or (sh_degree + 1) ** 2 > k:
            raise ValueError(f"sh_degree is {sh_degree} for {k} harmonics; at most {MAX_DEGREE}, and (degree + 1)^2 harmonics are needed")
        d, colour_shapes = 3, ((n, k, 3), (c, n, k, 3))
    expected: dict[str, tuple[Tensor | None, tuple[tuple[int, ...], ...]]] = {
        "means": (means, ((n, 3),)),
        "quats": (quats, ((n, 4),)),
        "scales": (scales, ((n, 3),)),
        "opacities": (opacities, ((n,),)),
        "colors": (colors, colour_shapes),
        "viewmats": (viewmats, ((c, 4, 4),)),
        "Ks": (Ks, ((c, 3, 3),)),
        "backgrounds": (backgrounds, ((c, d),)),
    }
    for name, (tensor, shapes) in expected.items():
        if tensor is None:
            continue
        if tuple(tensor.shape) not in shapes:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {' or '.join(map(str, shapes))}")
        if tensor.dtype != means.dtype or tensor.device != means.device:
            raise ValueError(f"{name} is {tensor.dtype} on {tensor.device}, means are {means.dtype} on {means.device}")
    if means.device.type != "cpu":
        raise ValueError(f"the renderer works on the CPU and on CUDA, not on {means.device}")
    if means.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"the renderer works in float32 or float64, not {means.dtype}")
    if c * n >= 2**31 or c == 0:
        raise ValueError(f"{c} cameras of {n} Gaussians: give at least one camera, and draw fewer than 2^31 Gaussians in one call")
