"""Gaussians as PLY files in the layout of 3D Gaussian Splatting, which every viewer reads.

Source: Kerbl et al. 2023, released code, scene/gaussian_model.py, `save_ply`. The file has one element, `vertex`, of
little-endian float32: x y z, nx ny nz (0), f_dc_0..2, f_rest_* (all higher SH coefficients of red, then green, then
blue), opacity (logit), scale_0..2 (natural logarithm), rot_0..3 (w x y z, unit length).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stages.errors import InputError
from stages.files.os_errors import writing
from stages.files.ply_header import read_header
from stages.scene import Gaussians

# Opacities are clamped to this distance from 0 and 1, where the logit is infinite. An opacity of 1 is still read as 1.
OPACITY_MARGIN = 1e-10
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)  # the smallest scale written, scene units: its logarithm is finite
REST_COUNTS = (0, 9, 24, 45, 72)  # possible numbers of f_rest_*: 3 ((degree + 1)^2 - 1) for SH degrees 0 to 4


def property_names(rest: int) -> list[str]:
    """The properties of a vertex in the order of the file. rest: number of f_rest_*."""
    dc, higher = [f"f_dc_{i}" for i in range(3)], [f"f_rest_{i}" for i in range(rest)]
    scales, quats = [f"scale_{i}" for i in range(3)], [f"rot_{i}" for i in range(4)]
    return [*"xyz", "nx", "ny", "nz", *dc, *higher, "opacity", *scales, *quats]


def write_ply(path: Path, gaussians: Gaussians, comments: list[str]) -> None:
    """Write Gaussians as a 3DGS PLY with comments in its header. Creates parent folders.

    Quaternions are normalised. Opacities are clamped to [1e-10, 1 - 1e-10] and scales to float32's smallest normal
    number, so that their logit and logarithm are finite. Raises InputError on no Gaussians, NaN, a negative scale, an
    opacity outside [0, 1] or a quaternion of length 0; RunError when the disk is full.
    """
    # Refuse what a viewer could not show.
    what, hint = f"cannot write {path}", "report this: no stage should produce such Gaussians"
    g = gaussians
    tensors = [x.detach().double().cpu() for x in (g.means, g.scales, g.quats, g.opacities, g.sh)]
    means, scales, quats, opacities, sh = tensors
    norm = quats.norm(dim=-1, keepdim=True)
    for bad, why in (
        (len(g) == 0, "there are no Gaussians"),
        (not all(bool(torch.isfinite(x).all()) for x in tensors), "some values are NaN or infinite"),
        (bool((scales < 0).any()), "a scale is negative"),
        (bool(((opacities < 0) | (opacities > 1)).any()), "an opacity is outside [0, 1]"),
        (bool((norm == 0).any()), "a rotation has length 0"),
    ):
        if bad:
            raise InputError(what, why, hint)
    # One row of float32 per Gaussian, after the header.
    columns = (
        means,
        torch.zeros_like(means),
        sh[:, 0],
        sh[:, 1:].mT.reshape(len(g), -1),
        opacities.clamp(OPACITY_MARGIN, 1 - OPACITY_MARGIN).logit()[:, None],
        scales.clamp(min=SMALLEST_SCALE).log(),
        quats / norm,
    )
    table = torch.cat(columns, dim=1).numpy().astype("<f4")
    header = ["ply", "format binary_little_endian 1.0"]
    header += [f"comment {line}" for comment in comments for line in comment.splitlines()]
    properties = [f"property float {name}" for name in property_names(3 * (g.sh.shape[1] - 1))]
    header += [f"element vertex {len(g)}", *properties, "end_header"]
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write("".join(f"{line}\n" for line in header).encode("ascii", "backslashreplace"))
            file.write(table.tobytes())


def read_ply(path: Path) -> Gaussians:
    """Read Gaussians (float32) from a binary 3DGS PLY.

    Properties may have any order and number type. Normals and unknown properties are ignored.
    Raises InputError, before the vertices are read, when the file is missing, is not a binary PLY whose first element
    is `vertex`, lacks a property, has an incomplete set of f_rest_*, or is shorter than its header states. Also on NaN
    or a quaternion of length 0.
    """
    # Check the properties before anything is read.
    header = read_header(path)
    names = header.layout.names or ()
    rest = sum(name.startswith("f_rest_") for name in names)
    missing = [name for name in property_names(rest) if name not in names and name not in ("nx", "ny", "nz")]
    what, hint = f"cannot read {path}", "give a PLY of Gaussians in the 3DGS layout"
    if rest not in REST_COUNTS:
        allowed = ", ".join(map(str, REST_COUNTS))
        raise InputError(what, f"it has {rest} f_rest properties", f"{hint}, with {allowed} of them")
    if missing:
        raise InputError(what, f"it has no {', '.join(missing[:4])}{' ...' if len(missing) > 4 else ''}", hint)
    # Read all vertices, and take each property out of its columns.
    with path.open("rb") as file:
        file.seek(header.offset)
        table = np.fromfile(file, dtype=header.layout, count=header.count)

    def columns(*wanted: str) -> Tensor:
        return torch.from_numpy(np.stack([table[name].astype(np.float64) for name in wanted], axis=1))

    means, scales = columns(*"xyz"), columns("scale_0", "scale_1", "scale_2").exp()
    quats = columns("rot_0", "rot_1", "rot_2", "rot_3")
    sh = columns("f_dc_0", "f_dc_1", "f_dc_2")[:, None]
    if rest:
        higher = columns(*(f"f_rest_{i}" for i in range(rest))).reshape(header.count, 3, rest // 3).mT
        sh = torch.cat([sh, higher], dim=1)
    norm = quats.norm(dim=-1, keepdim=True)
    values = [x.float() for x in (means, scales, quats / norm, columns("opacity")[:, 0].sigmoid(), sh)]
    if not all(bool(torch.isfinite(x).all()) for x in values):
        why = "some values are NaN or infinite, or a rotation has length 0"
        raise InputError(what, why, "the file is damaged: write it again")
    return Gaussians(*(x.contiguous() for x in values))
