"""Gaussians as PLY, in the layout of 3D Gaussian Splatting (Kerbl et al. 2023, scene/gaussian_model.py) that every viewer reads.

One element, `vertex`, little-endian float32: x y z, nx ny nz (0), f_dc_0..2, f_rest_* (all bands of red, then green, then blue),
opacity (logit), scale_0..2 (natural logarithm), rot_0..3 (w x y z, unit length).
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

# logit(1 - 1e-10) = 23.03: opacities of exactly 0 and 1 stay finite, and 1 reads back as exactly 1 in float32.
OPACITY_MARGIN = 1e-10
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
REST_COUNTS = (0, 9, 24, 45, 72)  # 3 ((degree + 1)^2 - 1) for degrees 0 to 4


def property_names(rest: int) -> list[str]:
    """The properties in the order in which they are written; rest: number of f_rest_*."""
    dc, higher = [f"f_dc_{i}" for i in range(3)], [f"f_rest_{i}" for i in range(rest)]
    return [*"xyz", "nx", "ny", "nz", *dc, *higher, "opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]


def write_ply(path: Path, gaussians: Gaussians, comments: list[str]) -> None:
    """Write Gaussians as a 3DGS PLY, the comments in its header; parents are created.

    Quaternions are normalised, opacities clamped to [1e-10, 1 - 1e-10] and scales to float32's smallest normal number, so that
    their logit and logarithm are finite. Raises InputError on no Gaussians, NaN, a negative scale, an opacity outside [0, 1] or a
    quaternion of length 0; RunError when the disk is full.
    """
    what, hint = f"cannot write {path}", "report this: no stage should produce such Gaussians"
    g = gaussians
    means, scales, quats, opacities, sh = (x.detach().double().cpu() for x in (g.means, g.scales, g.quats, g.opacities, g.sh))
    norm = quats.norm(dim=-1, keepdim=True)
    for bad, why in (
        (len(g) == 0, "there are no Gaussians"),
        (not all(bool(torch.isfinite(x).all()) for x in (means, scales, quats, opacities, sh)), "some values are NaN or infinite"),
        (bool((scales < 0).any()), "a scale is negative"),
        (bool(((opacities < 0) | (opacities > 1)).any()), "an opacity is outside [0, 1]"),
        (bool((norm == 0).any()), "a rotation has length 0"),
    ):
        if bad:
            raise InputError(what, why, hint)
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
    header += [f"element vertex {len(g)}", *(f"property float {name}" for name in property_names(3 * (g.sh.shape[1] - 1))), "end_header"]
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write("".join(f"{line}\n" for line in header).encode("ascii", "backslashreplace"))
            file.write(table.tobytes())


def read_ply(path: Path) -> Gaussians:
    """Read Gaussians (float32) from a binary 3DGS PLY; properties in any order, any number type, normals and others ignored.

    Raises InputError before anything is allocated when the file is missing, no binary PLY, does not begin with `vertex`, lacks a
    property, has an incomplete set of f_rest_*, or is shorter than its header states; then on NaN or a rotation of length 0.
    """
    header = read_header(path)
    names = header.layout.names or ()
    rest = sum(name.startswith("f_rest_") for name in names)
    missing = [name for name in property_names(rest) if name not in names and name not in ("nx", "ny", "nz")]
    what, hint = f"cannot read {path}", "give a PLY of Gaussians in the 3DGS layout"
    if rest not in REST_COUNTS:
        raise InputError(what, f"it has {rest} f_rest properties", f"{hint}: {', '.join(map(str, REST_COUNTS))} of them")
    if missing:
        raise InputError(what, f"it has no {', '.join(missing[:4])}{' ...' if len(missing) > 4 else ''}", hint)
    with path.open("rb") as file:
        file.seek(header.offset)
        table = np.fromfile(file, dtype=header.layout, count=header.count)

    def columns(*wanted: str) -> Tensor:
        return torch.from_numpy(np.stack([table[name].astype(np.float64) for name in wanted], axis=1))

    means, scales, quats = columns(*"xyz"), columns("scale_0", "scale_1", "scale_2").exp(), columns(*(f"rot_{i}" for i in range(4)))
    sh = columns("f_dc_0", "f_dc_1", "f_dc_2")[:, None]
    if rest:
        higher = columns(*(f"f_rest_{i}" for i in range(rest))).reshape(header.count, 3, rest // 3).mT
        sh = torch.cat([sh, higher], dim=1)
    norm = quats.norm(dim=-1, keepdim=True)
    values = [x.float() for x in (means, scales, quats / norm, columns("opacity")[:, 0].sigmoid(), sh)]
    if not all(bool(torch.isfinite(x).all()) for x in values):
        raise InputError(what, "some values are NaN or infinite, or a rotation has length 0", "the file is damaged: write it again")
    return Gaussians(*(x.contiguous() for x in values))
