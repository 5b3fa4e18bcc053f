"""One renderer, three backends: gsplat on CUDA, the C++ kernel on the CPU, torch if the kernel cannot be compiled.

Gaussians on a GPU for which there are no kernels are moved to the CPU, and the images back.
"""

import math
import warnings
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from stages.splat import build, cpu, fallback, gsplat_kernels

MAX_SIDE = 1 << 16  # sides of an image must be below this, px, because the kernel stores pixel numbers in 16 bits


def backend(device: torch.device | str) -> str:
    """The renderer for tensors on `device`: "gsplat", "c++" or "torch". Compiles its kernel if necessary.

    It is "gsplat" only on CUDA, and only if gsplat has kernels.
    """
    if torch.device(device).type == "cuda" and gsplat_kernels.are_loaded():
        return "gsplat"
    return "c++" if _implementation(torch.float32) is cpu else "torch"


@cache
def _implementation(dtype: torch.dtype) -> ModuleType:
    """The module with `project`, `harmonics` and `composite` for CPU tensors. Warns once if it is the slow one."""
    try:
        cpu.kernel(dtype)
    except (build.CompileError, OSError) as error:
        reason = str(error).splitlines()[0]
        text = "rendering runs in torch: the same images, about 40 times slower"
        text += f"; the C++ kernel is missing ({reason}), install a compiler such as g++"
        warnings.warn(text, RuntimeWarning, stacklevel=3)
        return fallback
    return cpu


def rasterization(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    sh: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    near_plane: float = 0.01,
) -> tuple[Tensor, Tensor]:
    """Render Gaussians from C cameras, like `rasterization` of gsplat 1.5.3 in its mode RGB+ED, on any device.

    means: [N, 3].  quats: [N, 4], wxyz, of any length.  scales: [N, 3].  opacities: [N].
    sh: [N, K, 3], harmonics of degree 0 to 4, K = (degree + 1)^2.  viewmats: [C, 4, 4], world-to-camera, OpenCV axes.
    Ks: [C, 3, 3], px.  near_plane: smallest camera z that is rendered, scene units.

    Returns image [C, h, w, 4] and alpha [C, h, w, 1]. The image holds red, green and blue, each times alpha, and the
    expected camera z, which is 0 where no Gaussian is.

    On the CPU it is differentiable in everything but Ks. Culled Gaussians get gradient 0. Gradients have the same bits
    for any number of threads. Raises ValueError for tensors that do not fit together, and MemoryError.
    """
    _check(means, quats, scales, opacities, sh, viewmats, Ks, width, height)
    # gsplat knows float32 only, and divides by the number of Gaussians.
    if means.is_cuda and means.dtype == torch.float32 and len(means) and gsplat_kernels.are_loaded():
        from gsplat.rendering import rasterization as on_cuda

        degree = math.isqrt(sh.shape[1]) - 1
        camera = (viewmats, Ks, width, height)
        options = {"near_plane": near_plane, "sh_degree": degree, "packed": False, "render_mode": "RGB+ED"}
        image, alpha, _ = on_cuda(means, quats, scales, opacities, sh, *camera, **options)
        return image, alpha
    if means.device.type != "cpu":
        camera = (viewmats.cpu(), Ks.cpu(), width, height)
        gaussians = (means.cpu(), quats.cpu(), scales.cpu(), opacities.cpu(), sh.cpu())
        image, alpha = rasterization(*gaussians, *camera, near_plane)
        return image.to(means.device), alpha.to(means.device)

    # Means, footprints and colours of the Gaussians in each image, then the image.
    implementation, size = _implementation(means.dtype), (width, height)
    result = implementation.project(means, quats, scales, opacities, viewmats, Ks, size, near_plane)
    radii, means2d, depths, factors = result
    # The inverse instead of -R^T t gives the same bits as gsplat.
    centres = torch.linalg.inv(viewmats)[:, :3, 3]
    colours = torch.cat([implementation.harmonics(means, centres, sh, radii), depths[..., None]], -1)
    per_camera = opacities.expand(len(viewmats), -1)
    image, alpha = implementation.composite(means2d, factors, per_camera, colours, depths, radii, size)
    return torch.cat([image[..., :3], image[..., 3:] / alpha.clamp_min(1e-10)], -1), alpha


def _check(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    sh: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
) -> None:
    """Raise ValueError for a wrong size, type or device, which the kernel cannot notice: it gets only addresses."""
    c, n, bands = len(viewmats), len(means), sh.shape[1]
    expected = {
        "means": (means, (n, 3)),
        "quats": (quats, (n, 4)),
        "scales": (scales, (n, 3)),
        "opacities": (opacities, (n,)),
        "sh": (sh, (n, bands, 3)),
        "viewmats": (viewmats, (c, 4, 4)),
        "Ks": (Ks, (c, 3, 3)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor.shape != shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {shape}")
        if tensor.dtype != means.dtype or tensor.device != means.device:
            raise ValueError(f"{name} is {tensor.dtype} on {tensor.device}, means are {means.dtype} on {means.device}")
    if bands not in (1, 4, 9, 16, 25):
        raise ValueError(f"sh has {bands} harmonics, expected (degree + 1)^2 for a degree of 0 to 4")
    if means.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"the renderer works in float32 or float64, not in {means.dtype}")
    if not (0 < width < MAX_SIDE and 0 < height < MAX_SIDE):
        raise ValueError(f"width and height are {width} and {height}, expected 1 to {MAX_SIDE - 1}")
    if c * n >= 2**31 or c == 0:
        hint = "give at least one camera, and render fewer than 2^31 Gaussians in one call"
        raise ValueError(f"{c} cameras of {n} Gaussians: {hint}")
