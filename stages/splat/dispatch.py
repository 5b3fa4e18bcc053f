"""One renderer, three backends: gsplat on CUDA, the C++ kernel on the CPU, torch where there is no compiler."""

from __future__ import annotations

import warnings
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from stages.splat import build, cpu

RENDER_MODES = ("RGB", "D", "ED", "RGB+D", "RGB+ED")


@lru_cache(maxsize=None)
def _cpu_backend(dtype: torch.dtype) -> ModuleType:
    try:
        cpu.kernel(dtype)
    except (build.CompileError, OSError) as error:
        from stages.splat import fallback

        reason = str(error).splitlines()[0]
        warnings.warn(
            f"rendering runs in plain torch, about 20 times slower and with the same result: the C++ kernel could not be built ({reason})",
            RuntimeWarning,
            stacklevel=3,
        )
        return fallback
    return cpu


def backend(device: torch.device | str = "cpu") -> str:
    """Which renderer tensors on `device` go to: "gsplat" (CUDA), "c++" or "torch". Builds the C++ kernel if it is not there yet."""
    if torch.device(device).type == "cuda":
        return "gsplat"
    return "c++" if _cpu_backend(torch.float32) is cpu else "torch"


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
    """Render Gaussians: the signature and image model of gsplat 1.5.3 `rasterization`, on any device."""
    if means.is_cuda:
        from gsplat.rendering import rasterization as gsplat_rasterization

        raise NotImplementedError(gsplat_rasterization)
    ops = _cpu_backend(means.dtype)
    size = (width, height)
    radii, means2d, depths, conics, compensations = ops.project(
        means, quats, scales, opacities, viewmats, Ks, size, (near_plane, far_plane), eps2d, radius_clip, rasterize_mode == "antialiased"
    )
    c, n = depths.shape
    seen = opacities.expand(c, n) if compensations is None else opacities * compensations
    if sh_degree is not None:
        colours = ops.harmonics(sh_degree, means, torch.linalg.inv(viewmats)[:, :3, 3], colors, radii)
    else:
        colours = colors.expand(c, *colors.shape[-2:])
    if render_mode in ("RGB+D", "RGB+ED"):
        colours = torch.cat([colours, depths[..., None]], -1)
        backgrounds = None if backgrounds is None else torch.nn.functional.pad(backgrounds, (0, 1))
    elif render_mode in ("D", "ED"):
        colours = depths[..., None]
        backgrounds = None if backgrounds is None else torch.zeros_like(backgrounds[:, :1])
    image, alpha = ops.composite(means2d, conics, seen, colours, backgrounds, depths, radii, size, absgrad)
    if render_mode in ("ED", "RGB+ED"):
        image = torch.cat([image[..., :-1], image[..., -1:] / alpha.clamp_min(1e-10)], -1)
    meta = {
        "camera_ids": None, "gaussian_ids": None, "radii": radii, "means2d": means2d, "depths": depths, "conics": conics, "opacities": seen,
        "width": width, "height": height, "n_cameras": c, "tile_size": cpu.TILE,
    }  # fmt: skip
    return image, alpha, meta
