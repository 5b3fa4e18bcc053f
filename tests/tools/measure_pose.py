"""Measures errors of estimated cameras on pairs with known ones: make measure-pose, with data in VIDEOSCENE_DATA.

Reads posed/val (scenes with transforms.json and pairs.json) and pairs/pairs_gt.json (indoor pairs with K and relative
pose). Prints one line per pair: errors of rotation and of translation direction in degrees, with the true K and with an
estimated focal length, and that length divided by the true one. The end compares the share of good pairs with the bars.

With --changed the medium pairs of posed/val are measured after one photograph was cut or zoomed, which must be solved,
refused or doubted; after the second one was mirrored; and with the first one zoomed in place of the second one, which
must be refused. --every N takes every Nth pair.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.errors import RunError
from stages.evaluate.cases import find_scenes, load_task, read_cases
from stages.files.images import read_image
from stages.geometry import crop_intrinsics, resize_intrinsics
from stages.prior.pose import PairGeometry, estimate_cameras

# Share of pairs within the limits that must be reached: (kind, whether K is known) -> share.
BARS = {("medium", True): 0.96, ("wide", True): 0.90, ("medium", False): 0.80}
CHANGED_BAR = 0.90  # share of the pairs with a cut or zoomed photograph that must be solved, refused or doubted
CHANGED_LIMITS = (3.0, 15.0)  # largest errors of rotation and direction of these pairs, degrees
ZOOMS = (1.2, 1.5, 2.0, 3.0)  # of a photograph from one spot
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
    """The angles in degrees between the rotations and between the directions of translation.

    truth: b_from_a, [4, 4] or [3, 4].
    """
    b_from_a = torch.linalg.inv(estimate.c2w[1].double())
    between = b_from_a[:3, :3].mT @ truth[:3, :3]
    rotation = torch.rad2deg(torch.acos(((between.trace() - 1) / 2).clamp(-1, 1)))
    translation = torch.rad2deg(torch.acos(torch.cosine_similarity(b_from_a[:3, 3], truth[:3, 3], 0).clamp(-1, 1)))
    return float(rotation), float(translation)


def measure(pair: Pair, K: Tensor | None) -> tuple[bool, tuple[float, float] | None, str]:
    """Whether the pair is within its limits, the errors of rotation and direction if it was solved, and a line."""
    start = time.perf_counter()
    try:
        estimate = estimate_cameras(pair.images, K=K)
    except RunError as error:
        return False, None, f"refused: {error.why}"
    rotation, translation = angles(estimate, pair.b_from_a)
    limits = LIMITS[pair.kind]
    good = rotation < limits[0] and translation < limits[1]
    focal = f"f x {float(estimate.K[0, 0, 0] / pair.K[0, 0, 0]):.2f} " if K is None else ""
    seconds = time.perf_counter() - start
    return (
        good,
        (rotation, translation),
        f"{'ok ' if good else 'BAD'} R {rotation:6.2f} T {translation:6.2f} "
        f"{focal}{estimate.inliers}/{estimate.matches} {seconds:.1f} s",
    )


def cut(image: Tensor, K: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The middle of an image [3, h, w], of the given size (h, w), and its K."""
    top, left = (image.shape[-2] - size[0]) // 2, (image.shape[-1] - size[1]) // 2
    return image[:, top : top + size[0], left : left + size[1]], crop_intrinsics(K, left, top)


def zoomed(image: Tensor, K: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    """The middle of an image [3, h, w], enlarged to its size, and its K."""
    size = (image.shape[-2], image.shape[-1])
    part, K = cut(image, K, (round(size[0] / factor), round(size[1] / factor)))
    K = resize_intrinsics(K, (part.shape[-2], part.shape[-1]), size)
    return F.interpolate(part[None], size, mode="bicubic", antialias=True)[0].clamp(0, 1), K


def changed(image: Tensor, K: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """A photograph with its K as a user may have changed it."""
    h, w = image.shape[-2:]
    yield "square", *cut(image, K, (min(h, w), min(h, w)))
    yield "upright", *cut(image, K, (h, round(0.75 * h)) if w >= h else (round(0.75 * w), w))
    yield "60 %", *cut(image, K, (round(0.6 * h), round(0.6 * w)))
    yield "zoom 1.5", *zoomed(image, K, 1.5)
    yield "zoom 2", *zoomed(image, K, 2)


def outcome(images: tuple[Tensor, Tensor], truth: Tensor | None) -> tuple[str, str]:
    """The outcome and a line about it. truth: [4, 4], None if no pose is right.

    Outcomes: "good", "refused", "doubted" (wrong with a doubt), "WRONG" (without one).
    """
    try:
        found = estimate_cameras(images)
    except RunError as error:
        return "refused", error.why
    if truth is None:
        return "doubted" if found.doubts else "WRONG", "; ".join(found.doubts)
    rotation, direction = angles(found, truth)
    good = rotation < CHANGED_LIMITS[0] and direction < CHANGED_LIMITS[1]
    word = "good" if good else "doubted" if found.doubts else "WRONG"
    return word, f"R {rotation:6.2f} T {direction:6.2f} {'; '.join(found.doubts)}"


def measure_changed(folder: Path, every: int) -> None:
    """Measure pairs with a changed photograph, photographs from one spot and mirrored ones, and print the results."""
    counts: dict[str, dict[str, int]] = {}

    def add(name: str, kind: str, images: tuple[Tensor, Tensor], truth: Tensor | None) -> None:
        word, line = outcome(images, truth)
        of_kind = counts.setdefault(kind, dict.fromkeys(("good", "refused", "doubted", "WRONG"), 0))
        of_kind[word] += 1
        print(f"{name:44s} {kind:9s} {word:8s} {line}", flush=True)

    seen: set[str] = set()
    for pair in [pair for pair in posed_pairs(folder) if pair.kind == "medium"][::every]:
        for kind, image, _ in changed(pair.images[1], pair.K[1]):
            add(pair.name, kind, (pair.images[0], image), pair.b_from_a)
        scene = pair.name.rsplit("-", 2)[0]
        if scene in seen:
            continue
        seen.add(scene)
        add(pair.name, "mirrored", (pair.images[0], pair.images[1].flip(-1)), None)
        for factor in ZOOMS:
            spot = zoomed(pair.images[0], pair.K[0], factor)[0]
            add(pair.name, "one spot", (pair.images[0], spot), None)
    for kind, words in counts.items():
        silent = words["WRONG"] / sum(words.values())
        counted = ", ".join(f"{number} {word}" for word, number in words.items())
        verdict = "met" if silent <= 1 - CHANGED_BAR else "MISSED"
        print(f"{kind}: {counted}; bar {100 * (1 - CHANGED_BAR):.0f} % WRONG: {verdict}")


def main() -> None:
    """Measure all pairs and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changed", action="store_true", help="pairs with a cut, zoomed or mirrored photograph")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="with --changed: every Nth pair")
    arguments = parser.parse_args()
    folder = Path(os.environ.get("VIDEOSCENE_DATA", ""))
    if not (folder / "posed" / "val").is_dir():
        parser.error("set the environment variable VIDEOSCENE_DATA to the folder that holds posed/val and pairs")
    torch.set_num_threads(2)
    if arguments.changed:
        measure_changed(folder / "posed" / "val", arguments.every)
        return
    results: dict[tuple[str, bool], list[tuple[bool, tuple[float, float] | None]]] = {}
    for pairs in (posed_pairs(folder / "posed" / "val"), indoor_pairs(folder / "pairs")):
        for pair in pairs:
            lines = []
            for known in (True, False):
                good, errors, line = measure(pair, pair.K if known else None)
                results.setdefault((pair.kind, known), []).append((good, errors))
                lines.append(line)
            print(f"{pair.name:44s} {pair.kind:6s} {' | '.join(lines)}", flush=True)
    for (kind, known), found in sorted(results.items()):
        good, solved = [within for within, _ in found], [errors for _, errors in found if errors]
        bar = BARS.get((kind, known))
        wanted = f", bar {100 * bar:.0f} %: {'met' if sum(good) >= bar * len(good) else 'MISSED'}" if bar else ""
        medians = [f"{statistics.median(column):.2f}" for column in zip(*solved, strict=True)]
        print(
            f"{kind}, {'true K' if known else 'our focal'}: {sum(good)} of {len(good)} = "
            f"{100 * sum(good) / len(good):.1f} %{wanted}; medians of rotation and direction: {', '.join(medians)}"
        )


if __name__ == "__main__":
    main()
