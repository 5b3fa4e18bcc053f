"""The objects that pass between stages, checked on construction.

Conventions, for every stage:
  cameras     camera-to-world, OpenCV axes (x right, y down, z forward)
  intrinsics  pixels; the image spans [0, w] x [0, h], so the centre of the top-left pixel is (0.5, 0.5)
  quaternions order w, x, y, z ("wxyz")
  images      sRGB in [0, 1], channels first
Scene units are the arbitrary unit of length of a scene. Photographs alone do not tell its size in metres.
Files with other conventions (nerfstudio, COLMAP) are converted in stages/files and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from stages.errors import InputError

T = TypeVar("T", "Cameras", "Gaussians")

# Largest error of R R^T - I that a camera's rotation R may have. Six-digit text causes errors of about 1e-5.
ROTATION_TOLERANCE = 1e-3

# Value of the constant spherical harmonic, 1 / (2 sqrt(pi)). In 3DGS, colour = 0.5 + C0 * coefficient.
C0 = 0.28209479177387814

NOTICEABLE = 0.03  # two exposures count as different if middle grey changes by more than this, in [0, 1]


def _require(condition: bool, what: str, why: str, hint: str) -> None:
    if not condition:
        raise InputError(what, why, hint)


def _require_finite(what: str, **tensors: Tensor) -> None:
    for name, value in tensors.items():
        finite = bool(torch.isfinite(value).all())
        _require(finite, what, f"{name} holds NaN or infinite values", "check the file it came from")


@dataclass(frozen=True, eq=False)
class Cameras:
    """N pinhole cameras of one image size.

    c2w: [N, 4, 4], OpenCV camera-to-world.  K: [N, 3, 3], pixels.  size: (h, w), pixels.
    Raises InputError on wrong shapes, NaN, a pose whose 3 x 3 part is not a rotation, or a focal length <= 0.
    """

    c2w: Tensor
    K: Tensor
    size: tuple[int, int]

    def __post_init__(self) -> None:
        n = self.c2w.shape[0] if self.c2w.dim() == 3 else -1
        _require(self.c2w.shape == (n, 4, 4), "bad cameras", f"c2w has shape {tuple(self.c2w.shape)}", "give [N, 4, 4]")
        why = f"K has shape {tuple(self.K.shape)} for {n} poses"
        _require(self.K.shape == (n, 3, 3), "bad cameras", why, "give [N, 3, 3]")
        _require(min(self.size) > 0, "bad cameras", f"image size {self.size}", "give (h, w) in pixels")
        _require_finite("bad cameras", c2w=self.c2w.detach(), K=self.K.detach())
        # A rotation is orthonormal and has determinant 1.
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

    def joined(self, other: Cameras) -> Cameras:
        """These cameras, followed by others of the same image size."""
        return Cameras(torch.cat([self.c2w, other.c2w]), torch.cat([self.K, other.K]), self.size)

    @property
    def w2c(self) -> Tensor:
        """World-to-camera matrices, [N, 4, 4]."""
        return torch.linalg.inv(self.c2w)

    def to(self, *args: object) -> Cameras:
        """Move or cast as torch.Tensor.to does."""
        return Cameras(self.c2w.to(*args), self.K.to(*args), self.size)  # type: ignore[call-overload]


@dataclass(frozen=True, eq=False)
class Views:
    """N photographs with their cameras.

    images: [N, 3, h, w], sRGB in [0, 1].  cameras: N, of images of that size.
    depth: [N, h, w], camera z in scene units, 0 where unknown; or None.
    full: the same photographs and cameras in the size of the result, without depth; None if these have that size.
    points: [P, 3], points of the scene that two photographs show, from their matches; None if unknown. They are not
    written to files.
    """

    images: Tensor
    cameras: Cameras
    depth: Tensor | None = None
    full: Views | None = None
    points: Tensor | None = None

    def __post_init__(self) -> None:
        n, (h, w) = len(self.cameras), self.cameras.size
        why = f"images have shape {tuple(self.images.shape)}, the cameras ask for {(n, 3, h, w)}"
        _require(self.images.shape == (n, 3, h, w), "bad views", why, "use one size for both")
        if self.depth is not None:
            why = f"depth has shape {tuple(self.depth.shape)}"
            _require(self.depth.shape == (n, h, w), "bad views", why, f"give {(n, h, w)}")
        if self.full is not None:
            _require(
                len(self.full.cameras) == n,
                "bad views",
                f"there are {len(self.full.cameras)} full photographs for {n} views",
                f"give {n}",
            )
        if self.points is not None:
            why = f"points have shape {tuple(self.points.shape)}"
            _require(self.points.shape == (len(self.points), 3), "bad views", why, "give [P, 3]")

    @property
    def size(self) -> tuple[int, int]:
        """The size of the result, (h, w)."""
        return self.cameras.size if self.full is None else self.full.cameras.size

    def to(self, device: torch.device) -> Views:
        """Move images, depth and points. The cameras stay on the CPU: few numbers, which many decisions depend on."""
        depth = None if self.depth is None else self.depth.to(device)
        full = None if self.full is None else self.full.to(device)
        points = None if self.points is None else self.points.to(device)
        return Views(self.images.to(device), self.cameras, depth, full, points)


@dataclass(frozen=True, eq=False)
class Gaussians:
    """G coloured 3D Gaussians in world space (Kerbl et al. 2023).

    means: [G, 3], scene units.  scales: [G, 3], standard deviations along the three axes, scene units.
    quats: [G, 4], wxyz.  opacities: [G] in [0, 1].
    sh: [G, K, 3], spherical harmonics (colour = 0.5 + C0 sh[:, 0] + ...), K = (degree + 1)^2.
    photograph: [G], uint8, the photograph (0 or 1) that each Gaussian was predicted from; None if unknown.
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
            actual = getattr(self, name).shape
            _require(actual == shape, "bad Gaussians", f"{name} has shape {tuple(actual)}", f"give {shape}")
        bands = self.sh.shape[1] if self.sh.dim() == 3 else 0
        why = f"sh has shape {tuple(self.sh.shape)}"
        complete = self.sh.shape == (g, bands, 3) and bands in (1, 4, 9, 16, 25)
        _require(complete, "bad Gaussians", why, "give [G, (degree + 1)^2, 3]")
        if self.photograph is not None:
            why = f"photograph has shape {tuple(self.photograph.shape)} and type {self.photograph.dtype}"
            fits = self.photograph.shape == (g,) and self.photograph.dtype == torch.uint8
            _require(fits, "bad Gaussians", why, f"give {(g,)} of uint8")

    def __len__(self) -> int:
        return self.means.shape[0]

    def __getitem__(self, which: Tensor | slice) -> Gaussians:
        """A selection of the Gaussians. which: boolean [G], indices [K], or a slice."""
        return Gaussians(**{name: value[which] for name, value in self._tensors()})

    def of_photograph(self, photograph: int) -> Gaussians:
        """The Gaussians predicted from photograph 0 or 1. Raises InputError when it is unknown which these are."""
        if self.photograph is None:
            what = "cannot separate the Gaussians of the two photographs"
            raise InputError(what, "the scene does not say which came from which", "use the prior's own Gaussians")
        return self[self.photograph == photograph]

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics, 0 to 4."""
        return int(self.sh.shape[1] ** 0.5) - 1

    def to(self, *args: object) -> Gaussians:
        """Move or cast as torch.Tensor.to does."""
        values = {name: value.to(*args) for name, value in self._tensors() if name != "photograph"}
        photograph = None if self.photograph is None else self.photograph.to(values["means"].device)
        return Gaussians(**values, photograph=photograph)

    @property
    def colours(self) -> Tensor:
        """The view-independent part of each colour, sRGB, [G, 3]; values may lie outside [0, 1]."""
        return 0.5 + C0 * self.sh[:, 0]

    def joined(self, other: Gaussians) -> Gaussians:
        """These Gaussians followed by the others, without `photograph`. The lower SH degree is padded with zeros."""
        bands = max(self.sh.shape[1], other.sh.shape[1])
        sh = [torch.cat([g.sh, g.sh.new_zeros(len(g), bands - g.sh.shape[1], 3)], 1) for g in (self, other)]
        names = ("means", "scales", "quats", "opacities")
        values = {name: torch.cat([getattr(self, name), getattr(other, name)]) for name in names}
        return Gaussians(**values, sh=torch.cat(sh))

    def _tensors(self) -> Iterator[tuple[str, Any]]:
        """The fields that are not None, with their names."""
        values = ((f.name, getattr(self, f.name)) for f in fields(self))
        return ((name, value) for name, value in values if value is not None)


def colours_to_sh(colours: Tensor) -> Tensor:
    """SH coefficients of degree 0, [G, 1, 3], for sRGB colours [G, 3]. The inverse of `Gaussians.colours`."""
    return ((colours - 0.5) / C0)[:, None]


@dataclass(frozen=True, eq=False)
class Exposure:
    """second photograph = gain * first photograph + offset, for each colour channel.

    gain, offset: [3], on the CPU.
    """

    gain: Tensor
    offset: Tensor

    @classmethod
    def same(cls) -> Exposure:
        """Both photographs have the same exposure."""
        return cls(torch.ones(3), torch.zeros(3))

    @property
    def noticeable(self) -> bool:
        """Whether the photographs differ by more than NOTICEABLE."""
        return float((self.gain * 0.5 + self.offset - 0.5).abs().max()) > NOTICEABLE

    @property
    def leaves_as_is(self) -> bool:
        """Whether it changes nothing. This is so too if the photographs share too little to compare them."""
        return bool((self.gain == 1).all() and (self.offset == 0).all())

    def bring(self, colours: Tensor, photograph: int, share: Tensor) -> Tensor:
        """Colours of a photograph, brought a share of the way to the exposure of the other one.

        colours: [N, 3, h, w].  photograph: 0 or 1.  share: [N], 0 leaves the colours as they are, 1 goes all the way.
        """
        gain, offset = (values.to(colours)[:, :, None, None] for values in self.part(photograph, share))
        return colours * gain + offset

    def part(self, photograph: int, share: Tensor) -> tuple[Tensor, Tensor]:
        """Gain and offset, [N, 3], that bring a photograph a share [N] of the way to the exposure of the other one."""
        gain, offset = (values.to(share.device) for values in self._of(photograph))
        return gain ** share[:, None].to(gain), offset * share[:, None].to(offset)

    def half_way(self, images: Tensor) -> Tensor:
        """Both photographs, [2, 3, h, w], brought nearly to the exposure half-way between theirs."""
        return torch.cat([self.bring(images[[k]], k, torch.tensor([0.5])) for k in (0, 1)]).clamp(0, 1)

    def own_colours(self, gaussians: Gaussians) -> Gaussians:
        """Give each Gaussian the exposure of its own photograph. All were predicted from the images of `half_way`."""
        assert gaussians.photograph is not None, "the prior sets photograph"
        gain, offset = (torch.stack(pair).to(gaussians.sh) for pair in zip(self._of(0), self._of(1), strict=True))
        which = gaussians.photograph.long()
        gain = gain[which].sqrt()
        colours = (gaussians.colours - 0.5 * offset[which]) / gain
        sh = torch.cat([colours_to_sh(colours), gaussians.sh[:, 1:] / gain[:, None]], 1)
        return replace(gaussians, sh=sh)

    def _of(self, photograph: int) -> tuple[Tensor, Tensor]:
        """Gain and offset that bring this photograph to the exposure of the other one."""
        return (self.gain, self.offset) if photograph == 0 else (1 / self.gain, -self.offset / self.gain)


@dataclass(frozen=True, eq=False)
class Clip:
    """T frames along a camera path.

    frames: [T, 3, h, w], sRGB in [0, 1].  cameras: T.
    coverage: [T, h, w] in [0, 1], accumulated alpha, the part of each pixel that Gaussians cover; or None.
    fps: frames per second.  depth: [T, h, w], camera z in scene units, 0 where no Gaussian is; or None.
    leap: the leap step with which a student repaired the frames, or None if no student did.
    exposure: the difference in exposure of the two photographs that was evened out along the path, or None if the clip
    does not say.
    """

    frames: Tensor
    cameras: Cameras
    coverage: Tensor | None = None
    fps: float = 8.0
    depth: Tensor | None = None
    leap: int | None = None
    exposure: Exposure | None = None

    def __post_init__(self) -> None:
        n, (h, w) = len(self.cameras), self.cameras.size
        why = f"frames have shape {tuple(self.frames.shape)}, the cameras ask for {(n, 3, h, w)}"
        _require(self.frames.shape == (n, 3, h, w), "bad clip", why, "use one size for both")
        for name, value in (("coverage", self.coverage), ("depth", self.depth)):
            if value is not None:
                why = f"{name} has shape {tuple(value.shape)}"
                _require(value.shape == (n, h, w), "bad clip", why, f"give {(n, h, w)}")
        _require(self.fps > 0, "bad clip", f"fps is {self.fps}", "give a frame rate above 0")

    @classmethod
    def joined(cls, parts: list[Clip]) -> Clip:
        """The parts of a clip, one after the other. They have coverage and depth if the first one has."""
        first, cameras = parts[0], [part.cameras for part in parts]
        all_cameras = Cameras(
            torch.cat([c.c2w for c in cameras]), torch.cat([c.K for c in cameras]), first.cameras.size
        )

        def maps(name: str) -> Tensor | None:
            return None if getattr(first, name) is None else torch.cat([getattr(part, name) for part in parts])

        frames = torch.cat([part.frames for part in parts])
        return replace(first, frames=frames, cameras=all_cameras, coverage=maps("coverage"), depth=maps("depth"))

    def to(self, device: torch.device) -> Clip:
        """Move frames, coverage and depth. The cameras stay on the CPU, as in `Views.to`."""
        coverage, depth = (None if maps is None else maps.to(device) for maps in (self.coverage, self.depth))
        return replace(self, frames=self.frames.to(device), coverage=coverage, depth=depth)
