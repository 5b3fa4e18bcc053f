"""Measures errors of estimated cameras on pairs with known ones: make measure-pose, with data in VIDEOSCENE_DATA.

Reads posed/val (scenes with transforms.json and pairs.json) and pairs/pairs_gt.json (indoor pairs with K and relative
pose). Prints one line per pair: errors of rotation and of translation direction in degrees, with the true K and with an
estimated focal length, and that length divided by the true one. The end compares the share of good pairs with the bars.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stages.errors import RunError
from stages.evaluate.cases import find_scenes, load_task, read_cases
from stages.files.images import read_image
from stages.prior.pose import PairGeometry, estimate_cameras

# Share of pairs within the limits that must be reached: (kind, whether K is known) -> share.
BARS = {("medium", True): 0.96, ("wide", True): 0.90, ("medium", False): 0.80}
# Kind -> largest error of rotation and of translation direction of a good pair, in degrees.
LIMITS = {"medium": (2.0, 10.0), "wide": (2.0, 10.0), "indoor": (10.0, 10.0)}


@dataclass(frozen=True)
class Pair:
    """Two photographs with their true K [2, 3, 3] and the true pose of camera a in camera b, [4, 4]."""

    name: str
    kind: str
    images: tuple[Tensor, Tensor]
    K: Tensor
    b_from_a: Tensor


def posed_pairs(folder: Path) -> Iterator[Pair]:
    """The cases of all scenes below the folder."""
    for scene in find_scenes([folder]):
        for case in read_cases(scene):
            context = load_task(case).context
            c2w = context.cameras.c2w.double()
            images = (context.images[0], context.images[1])
            yield Pair(case.name, case.kind, images, context.cameras.K.double(), torch.linalg.inv(c2w[1]) @ c2w[0])


def indoor_pairs(folder: Path) -> Iterator[Pair]:
    """The pairs in pairs_gt.json."""
    for entry in json.loads((folder / "pairs_gt.json").read_text()):
        images = (read_image(folder / entry["image0"]), read_image(folder / entry["image1"]))
        K = torch.tensor([entry["K0"], entry["K1"]], dtype=torch.float64)
        yield Pair(entry["name"], "indoor", images, K, torch.tensor(entry["T_0to1"], dtype=torch.float64))


def angles(estimate: PairGeometry, truth: Tensor) -> tuple[float, float]:
    """The angles in degrees between the rotations and between the directions of translation."""
    b_from_a = torch.linalg.inv(estimate.c2w[1].double())
    between = b_from_a[:3, :3].mT @ truth[:3, :3]
    rotation = torch.rad2deg(torch.acos(((between.trace() - 1) / 2).clamp(-1, 1)))
    translation = torch.rad2deg(torch.acos(torch.cosine_similarity(b_from_a[:3, 3], truth[:3, 3], 0).clamp(-1, 1)))
    return float(rotation), float(translation)


def measure(pair: Pair, K: Tensor | None) -> tuple[bool, str]:
    """Whether the pair is within its limits, and a line about it."""
    start = time.perf_counter()
    try:
        estimate = estimate_cameras(pair.images, K=K)
    except RunError as error:
        return False, f"refused: {error.why}"
    rotation, translation = angles(estimate, pair.b_from_a)
    limits = LIMITS[pair.kind]
    good = rotation < limits[0] and translation < limits[1]
    focal = f"f x {float(estimate.K[0, 0, 0] / pair.K[0, 0, 0]):.2f} " if K is None else ""
    seconds = time.perf_counter() - start
    return (
        good,
        f"{'ok ' if good else 'BAD'} R {rotation:6.2f} T {translation:6.2f} "
        f"{focal}{estimate.inliers}/{estimate.matches} {seconds:.1f} s",
    )


def main() -> None:
    """Measure all pairs and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("VIDEOSCENE_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
    parser.add_argument("data", type=Path, nargs="?", default=Path(default))
    folder: Path = parser.parse_args().data
    torch.set_num_threads(2)
    scores: dict[tuple[str, bool], list[bool]] = {}
    for pairs in (posed_pairs(folder / "posed" / "val"), indoor_pairs(folder / "pairs")):
        for pair in pairs:
            lines = []
            for known in (True, False):
                good, line = measure(pair, pair.K if known else None)
                scores.setdefault((pair.kind, known), []).append(good)
                lines.append(line)
            print(f"{pair.name:44s} {pair.kind:6s} {' | '.join(lines)}", flush=True)
    for (kind, known), good in sorted(scores.items()):
        bar = BARS.get((kind, known))
        wanted = f", bar {100 * bar:.0f} %: {'met' if sum(good) >= bar * len(good) else 'MISSED'}" if bar else ""
        print(
            f"{kind}, {'true K' if known else 'our focal'}: {sum(good)} of {len(good)} = "
            f"{100 * sum(good) / len(good):.1f} %{wanted}"
        )


if __name__ == "__main__":
    main()
