"""Gaussians as PLY files in the layout of 3D Gaussian Splatting, which every viewer reads.

Source: Kerbl et al. 2023, released code, scene/gaussian_model.py, `save_ply`. The file has one element, `vertex`, of
little-endian float32: x y z, nx ny nz (0), f_dc_0..2, f_rest_* (all higher SH coefficients of red, then green, then
blue), opacity (logit), scale_0..2 (natural logarithm), rot_0..3 (w x y z, unit length). If the photograph of each
Gaussian is known, those of the first photograph come first, and a comment in the header counts those of each:
`comment photographs 65025 64980`.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.errors import InputError
from stages.files.ply_vertices import read_vertices, write_vertices
from stages.scene import Gaussians

# Opacities are clamped to this distance from 0 and 1, where the logit is infinite. An opacity of 1 is still read as 1.
OPACITY_MARGIN = 1e-10
UNIT_TOLERANCE = 1e-6  # largest error of the length of a unit quaternion; in float32 it is below 2e-7
PHOTOGRAPHS = "photographs"  # first word of the comment that counts the Gaussians of each photograph
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)  # the smallest scale written, scene units: its logarithm is finite
REST_COUNTS = (0, 9, 24, 45, 72)  # possible numbers of f_rest_*: 3 ((degree + 1)^2 - 1) for SH degrees 0 to 4


def property_names(rest: int) -> list[str]:
    """The properties of a vertex in the order of the file. rest: number of f_rest_*."""
    dc, higher = [f"f_dc_{i}" for i in range(3)], [f"f_rest_{i}" for i in range(rest)]
    scales, quats = [f"scale_{i}" for i in range(3)], [f"rot_{i}" for i in range(4)]
    return [*"xyz", "nx", "ny", "nz", *dc, *higher, "opacity", *scales, *quats]


def write_ply(path: Path, gaussians: Gaussians, comments: list[str], degree: int | None = None) -> None:
    """Write Gaussians as a 3DGS PLY with comments in its header. Creates parent folders.

    degree: degree of the spherical harmonics in the file, at least that of the Gaussians. Coefficients that
    they lack are written as 0.
    Quaternions are normalised. Opacities are clamped to [1e-10, 1 - 1e-10] and scales to float32's smallest normal
    number, so that their logit and logarithm are finite. Raises InputError on no Gaussians, NaN, a negative scale, an
    opacity outside [0, 1] or a quaternion of length 0; RunError when the disk is full.
    """
    if degree is not None:
        sh = gaussians.sh
        gaussians = replace(gaussians, sh=F.pad(sh, (0, 0, 0, (degree + 1) ** 2 - sh.shape[1])))
    table = _table(path, gaussians)
    names = property_names(3 * (gaussians.sh.shape[1] - 1))
    write_vertices(
        path, {name: table[:, column] for column, name in enumerate(names)}, [*_photographs(gaussians), *comments]
    )


def write_points(path: Path, points: Tensor, colours: Tensor, comments: list[str]) -> None:
    """Write a coloured point cloud as a PLY: x y z as float32, red green blue as uint8. Creates parent folders.

    points: [P, 3], scene units.  colours: [P, 3] in [0, 1].  Raises RunError when the disk is full.
    """
    levels = (colours.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    columns = dict(zip("xyz", points.detach().float().cpu().numpy().T, strict=True))
    write_vertices(path, columns | dict(zip(("red", "green", "blue"), levels.T, strict=True)), comments)


def as_in_ply(gaussians: Gaussians) -> Gaussians:
    """The Gaussians, float32, that `read_ply` gives back after `write_ply`, on their device.

    The numbers are computed on the CPU, so that they are those of the file to the last bit.
    Gaussians that were read from such a file do not change in any bit.
    """
    _require_sound("a PLY", gaussians)
    g = gaussians.to("cpu", torch.float32)
    logits, log_scales, quats = (x.float() for x in _encoded(g))
    rounded = Gaussians(g.means, *_decoded(log_scales, quats, logits), g.sh, g.photograph)
    return rounded.to(gaussians.means.device)


def _encoded(g: Gaussians) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of opacities [G], logarithms of scales [G, 3] and unit quaternions [G, 4], as a PLY holds them."""
    opacities, scales, quats = (x.detach().double().cpu() for x in (g.opacities, g.scales, g.quats))
    logits = opacities.clamp(OPACITY_MARGIN, 1 - OPACITY_MARGIN).logit()
    return logits, scales.clamp(min=SMALLEST_SCALE).log(), _unit(quats)


def _decoded(log_scales: Tensor, quats: Tensor, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The inverse of `_encoded`: scales, rotations and opacities, float32."""
    return log_scales.double().exp().float(), _unit(quats.double()).float(), logits.double().sigmoid().float()


def _photographs(gaussians: Gaussians) -> list[str]:
    """The comment that counts the Gaussians of each photograph, or no comment if the photographs are unknown.

    Raises ValueError unless those of the first photograph come first.
    """
    if gaussians.photograph is None:
        return []
    if bool((gaussians.photograph[1:] < gaussians.photograph[:-1]).any()):
        raise ValueError("the Gaussians of the two photographs are mixed")
    second = int(gaussians.photograph.sum())
    return [f"{PHOTOGRAPHS} {len(gaussians) - second} {second}"]


def _table(path: Path | str, gaussians: Gaussians) -> np.ndarray:
    """The rows of a PLY, [G, properties], one per Gaussian."""
    _require_sound(path, gaussians)
    logits, log_scales, quats = _encoded(gaussians)
    means, sh = (x.detach().double().cpu() for x in (gaussians.means, gaussians.sh))
    higher = sh[:, 1:].mT.reshape(len(gaussians), -1)
    columns = (means, torch.zeros_like(means), sh[:, 0], higher, logits[:, None], log_scales, quats)
    return torch.cat(columns, dim=1).numpy().astype("<f4")


def _require_sound(path: Path | str, g: Gaussians) -> None:
    """Raise InputError for Gaussians that a viewer could not show."""
    what, hint = f"cannot write {path}", "report this: no stage should produce such Gaussians"
    tensors = [x.detach() for x in (g.means, g.scales, g.quats, g.opacities, g.sh)]
    _, scales, quats, opacities, _ = tensors
    for bad, why in (
        (len(g) == 0, "there are no Gaussians"),
        (not all(bool(torch.isfinite(x).all()) for x in tensors), "some values are NaN or infinite"),
        (bool((scales < 0).any()), "a scale is negative"),
        (bool(((opacities < 0) | (opacities > 1)).any()), "an opacity is outside [0, 1]"),
        (bool((quats == 0).all(-1).any()), "a rotation has length 0"),
    ):
        if bad:
            raise InputError(what, why, hint)


def read_ply(path: Path) -> Gaussians:
    """Read Gaussians (float32) from a binary 3DGS PLY.

    Properties may have any order and number type. Normals and unknown properties are ignored.
    Raises InputError when the file is missing, is not a binary PLY whose first element is `vertex`, lacks a property,
    has an incomplete set of f_rest_*, is shorter than its header states, or holds NaN or a quaternion of length 0.
    """
    table, comments = read_vertices(path)
    names = table.dtype.names or ()
    rest = sum(name.startswith("f_rest_") for name in names)
    missing = [name for name in property_names(rest) if name not in names and name not in ("nx", "ny", "nz")]
    what, hint = f"cannot read {path}", "give a PLY of Gaussians in the 3DGS layout"
    if rest not in REST_COUNTS:
        allowed = ", ".join(map(str, REST_COUNTS))
        raise InputError(what, f"it has {rest} f_rest properties", f"{hint}, with {allowed} of them")
    if missing:
        raise InputError(what, f"it has no {', '.join(missing[:4])}{' ...' if len(missing) > 4 else ''}", hint)
    # Turn the columns into Gaussians.
    means, log_scales = _columns(table, "xyz"), _columns(table, ("scale_0", "scale_1", "scale_2"))
    quats, logits = _columns(table, ("rot_0", "rot_1", "rot_2", "rot_3")), _columns(table, ("opacity",))[:, 0]
    sh = _columns(table, ("f_dc_0", "f_dc_1", "f_dc_2"))[:, None]
    if rest:
        higher = _columns(table, [f"f_rest_{i}" for i in range(rest)]).reshape(-1, 3, rest // 3).mT
        sh = torch.cat([sh, higher], dim=1)
    values = (means.float(), *_decoded(log_scales, quats, logits), sh.float())
    if not all(bool(torch.isfinite(x).all()) for x in values):
        why = "some values are NaN or infinite, or a rotation has length 0"
        raise InputError(what, why, "the file is damaged: write it again")
    return Gaussians(*values, _read_photographs(comments, len(table), path))


def _read_photographs(comments: list[str], count: int, path: Path) -> Tensor | None:
    """The photograph of each Gaussian, from the comment in the header, or None without this comment."""
    entries = [comment.split()[1:] for comment in comments if comment.split()[:1] == [PHOTOGRAPHS]]
    if not entries:
        return None
    counts = [int(word) for word in entries[0] if word.isascii() and word.isdigit() and len(word) < 18]
    if len(entries) > 1 or len(counts) != 2 or len(entries[0]) != 2 or sum(counts) != count:
        why = f"its comment on the photographs does not fit {count} Gaussians"
        raise InputError(f"cannot read {path}", why, "the file is damaged: write it again")
    return torch.arange(2, dtype=torch.uint8).repeat_interleave(torch.tensor(counts))


def _columns(table: np.ndarray, names: Iterable[str]) -> Tensor:
    """Columns of a PLY side by side, [G, columns], float64."""
    with np.errstate(invalid="ignore"):  # NaN is refused later
        return torch.from_numpy(np.stack([table[name].astype(np.float64) for name in names], axis=1))


def _unit(quats: Tensor) -> Tensor:
    """Scale quaternions to length 1. Those that have it already stay, so that rewriting a PLY changes nothing."""
    norm = quats.norm(dim=-1, keepdim=True)
    return torch.where((norm - 1).abs() < UNIT_TOLERANCE, quats, quats / norm)
