"""The objects that pass between stages, checked on construction.

Conventions, for every stage:
  cameras     camera-to-world, OpenCV axes (x right, y down, z forward)
  intrinsics  pixels; the image spans [0, w] x [0, h], so the centre of the top-left pixel is (0.5, 0.5)
  quaternions w, x, y, z
  images      sRGB in [0, 1], channels first
Files of other conventions (nerfstudio, COLMAP) are converted in stages/files and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import torch
from torch import Tensor

from stages.errors import InputError

T = TypeVar("T", "Cameras", "Gaussians")

# A rotation read from six-digit text is orthonormal to about 1e-5; anything worse than this is not a rotation.
ROTATION_TOLERANCE = 1e-3

C0 = 0.28209479177387814  # value of the constant spherical harmonic, 1 / (2 sqrt(pi)): colour = 0.5 + C0 * coefficient


def _require(condition: bool, what: str, why: str, hint: str) -> None:
    if not condition:
        raise InputError(what, why, hint)


def _require_finite(what: str, **tensors: Tensor) -> None:
    for name, value in tensors.items():
        _require(bool(torch.isfinite(value).all()), what, f"{name} holds NaN or infinite values", "check the file it came from")


@dataclass(frozen=True)
class Cameras:
    """N pinhole cameras of one image size.

    c2w: [N, 4, 4], OpenCV camera-to-world.  K: [N, 3, 3], pixels.  size: (h, w), pixels.
    Raises InputError on wrong shapes, NaN, a left block that is not a rotation, or a focal length <= 0.
    """

    c2w: Tensor
    K: Tensor
    size: tuple[int, int]

    def __post_init__(self) -> None:
        n = self.c2w.shape[0] if self.c2w.dim() == 3 else -1
        _require(self.c2w.shape == (n, 4, 4), "bad cameras", f"c2w has shape {tuple(self.c2w.shape)}", "give [N, 4, 4]")
        _require(self.K.shape == (n, 3, 3), "bad cameras", f"K has shape {tuple(self.K.shape)} for {n} poses", "give [N, 3, 3]")
        _require(min(self.size) > 0, "bad cameras", f"image size {self.size}", "give (h, w) in pixels")
        _require_finite("bad cameras", c2w=self.c2w.detach(), K=self.K.detach())
        rotation = self.c2w.detach()[:, :3, :3].double()
        error = (rotation @ rotation.mT - torch.eye(3, dtype=torch.float64, device=rotation.device)).abs()
        proper = bool((error < ROTATION_TOLERANCE).all()) and bool((torch.linalg.det(rotation) > 0).all())
        _require(proper, "bad cameras", "a pose is not a rotation", "give rigid poses without scale or mirror")
        focal = self.K.detach()[:, (0, 1), (0, 1)]
        _require(bool((focal > 0).all()), "bad cameras", "a focal length is not positive", "give K in pixels")

    def __len__(self) -> int:
        return self.c2w.shape[0]

    def __getitem__(self, index: slice | list[int]) -> Cameras:
        return Cameras(self.c2w[index], self.K[index], self.size)

    @property
    def w2c(self) -> Tensor:
        """World-to-camera matrices, [N, 4, 4]."""
        return torch.linalg.inv(self.c2w)

    def to(self, *args: object) -> Cameras:
        """Move or cast as torch.Tensor.to does."""
        return Cameras(self.c2w.to(*args), self.K.to(*args), self.size)  # type: ignore[call-overload]


@dataclass(frozen=True)
class Views:
    """N photographs with their cameras.

    images: [N, 3, h, w], sRGB in [0, 1].  cameras: N.  depth: [N, h, w] camera z in scene units (0 where unknown), or None.
    """

    images: Tensor
    cameras: Cameras
    depth: Tensor | None = None

    def __post_init__(self) -> None:
        n, (h, w) = len(self.cameras), self.cameras.size
        _require(
            self.images.shape == (n, 3, h, w),
            "bad views",
            f"images {tuple(self.images.shape)}, cameras {(n, 3, h, w)}",
            "use one size for both",
        )
        if self.depth is not None:
            _require(self.depth.shape == (n, h, w), "bad views", f"depth has shape {tuple(self.depth.shape)}", f"give {(n, h, w)}")


@dataclass(frozen=True)
class Gaussians:
    """G coloured 3D Gaussians in world space (Kerbl et al. 2023).

    means: [G, 3], scene units.  scales: [G, 3], linear standard deviations.  quats: [G, 4], wxyz.
    opacities: [G] in [0, 1].  sh: [G, K, 3], spherical harmonics (colour = 0.5 + C0 sh[:, 0] + ...), K = (degree + 1)^2.
    photograph: [G], uint8, which of two photographs each comes from, 0 or 1; None once they have become one scene.
    """

    means: Tensor
    scales: Tensor
    quats: Tensor
    opacities: Tensor
    sh: Tensor
    photograph: Tensor | None = None

    def __post_init__(self) -> None:
        g = self.means.shape[0]
        expected = {"means": (g, 3), "scales": (g, 3), "quats": (g, 4), "opacities": (g,)}
        for name, shape in expected.items():
            _require(
                getattr(self, name).shape == shape, "bad Gaussians", f"{name} has shape {tuple(getattr(self, name).shape)}", f"give {shape}"
            )
        bands = self.sh.shape[1] if self.sh.dim() == 3 else 0
        _require(
            self.sh.shape == (g, bands, 3) and bands in (1, 4, 9, 16, 25),
            "bad Gaussians",
            f"sh has shape {tuple(self.sh.shape)}",
            "give [G, (degree + 1)^2, 3]",
        )
        if self.photograph is not None:
            why = f"photograph has shape {tuple(self.photograph.shape)} and type {self.photograph.dtype}"
            _require(self.photograph.shape == (g,) and self.photograph.dtype == torch.uint8, "bad Gaussians", why, f"give {(g,)} of uint8")

    def __len__(self) -> int:
        return self.means.shape[0]

    def __getitem__(self, which: Tensor | slice) -> Gaussians:
        """Some of them, in their order. which: boolean [G], indices [K], or a slice."""
        return Gaussians(**{name: value[which] for name, value in self._tensors()})

    def of_photograph(self, photograph: int) -> Gaussians:
        """Those of one of the two photographs. Raises InputError when they do not know theirs."""
        if self.photograph is None:
            raise InputError("cannot part the Gaussians", "they do not know their photograph", "take those that the prior predicts")
        return self[self.photograph == photograph]

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics, 0 to 4."""
        return int(self.sh.shape[1] ** 0.5) - 1

    def to(self, *args: object) -> Gaussians:
        """Move or cast as torch.Tensor.to does."""
        moved = {name: value.to(*args) for name, value in self._tensors() if name != "photograph"}
        return Gaussians(**moved, photograph=None if self.photograph is None else self.photograph.to(moved["means"].device))

    @property
    def colours(self) -> Tensor:
        """The colour of each without what depends on the direction of view, sRGB, [G, 3]; values may lie outside [0, 1]."""
        return 0.5 + C0 * self.sh[:, 0]

    def joined(self, other: Gaussians) -> Gaussians:
        """These and then the others; harmonics of the lower degree are extended by zeros. They no longer know their photograph."""
        bands = max(self.sh.shape[1], other.sh.shape[1])
        sh = [torch.cat([g.sh, g.sh.new_zeros(len(g), bands - g.sh.shape[1], 3)], 1) for g in (self, other)]
        names = ("means", "scales", "quats", "opacities")
        return Gaussians(**{name: torch.cat([getattr(self, name), getattr(other, name)]) for name in names}, sh=torch.cat(sh))

    def _tensors(self) -> Iterator[tuple[str, Any]]:
        values = ((f.name, getattr(self, f.name)) for f in fields(self))
        return ((name, value) for name, value in values if value is not None)


def colours_to_sh(colours: Tensor) -> Tensor:
    """Spherical harmonics of degree 0, [G, 1, 3], that show sRGB colours [G, 3] from every side; the inverse of `Gaussians.colours`."""
    return ((colours - 0.5) / C0)[:, None]


@dataclass(frozen=True)
class Clip:
    """T frames along a camera path.

    frames: [T, 3, h, w], sRGB in [0, 1].  cameras: T.  coverage: [T, h, w] in [0, 1], how much of a pixel the Gaussians
    explain (accumulated alpha), or None.  depth: [T, h, w] camera z in scene units (0 where nothing is), or None.  fps: frames a second.
    """

    frames: Tensor
    cameras: Cameras
    coverage: Tensor | None = None
    fps: float = 8.0
    depth: Tensor | None = None

    def __post_init__(self) -> None:
        n, (h, w) = len(self.cameras), self.cameras.size
        _require(
            self.frames.shape == (n, 3, h, w),
            "bad clip",
            f"frames {tuple(self.frames.shape)}, cameras {(n, 3, h, w)}",
            "use one size for both",
        )
        for name, value in (("coverage", self.coverage), ("depth", self.depth)):
            if value is not None:
                _require(value.shape == (n, h, w), "bad clip", f"{name} has shape {tuple(value.shape)}", f"give {(n, h, w)}")
        _require(self.fps > 0, "bad clip", f"fps is {self.fps}", "give frames a second above 0")
