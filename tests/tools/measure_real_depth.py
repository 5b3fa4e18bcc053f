"""Depth of the prior on real scenes with known cameras: make measure-depth DATA=folder_of_scenes.

Points are triangulated from all frames of a scene (true_points.py) and projected into the two photographs of each case.
There the prior's depth is compared with theirs. For every scene, for all scenes, and for each kind of point (ROWS of
depth_at_points.py) the program prints how many points there are, and of their relative errors |depth / truth - 1| the
median, the mean, and the shares within 5 and 25 %. The points of a row are the same for every network, except in the
last three rows: there each network's own depth map says where edges are. A scene with too few points in a row is
reported so and does not count in the mean of that row. The scenes that count weigh the same.

OUT/report.json holds the figures. OUT/points holds the points, so the next run on the same scenes need not triangulate.
--weights given twice compares two networks. --against REPORT compares with an earlier run, of this or of other code.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from stages.errors import InputError
from stages.evaluate.cases import Case, find_scenes, load_task, read_cases
from stages.evaluate.kept_frames import compose
from stages.files.documents import read_json
from stages.files.images import write_png
from stages.files.publish import write_json
from stages.prior.load import load_prior
from stages.prior.network import MVSplat
from stages.prior.pose import match_views
from stages.prior.predict import predict
from tests.tools.depth_at_points import LEAST_POINTS, ROWS, Figures, errors_by_row, figures, mean_of_scenes
from tests.tools.depth_sheet import SHIPPED, Row, depth_row
from tests.tools.true_points import TruePoints, cached_points

Report = Mapping[str, Mapping[str, Mapping[str, Figures]]]
"""network -> scene -> row of ROWS -> figures."""


def measure_scene(
    cases: Sequence[Case], points: TruePoints, networks: Mapping[str, MVSplat]
) -> tuple[dict[str, dict[str, Figures]], list[Row]]:
    """The figures of a scene for every network, of the points of all its cases together, and the rows of its sheet."""
    errors: dict[str, dict[str, list[Tensor]]] = {name: {row: [] for row in ROWS} for name in networks}
    rows = []
    for case in cases:
        context = load_task(case).context
        context, near_far = match_views(context)
        depths = [predict(context, near_far, network).depth for network in networks.values()]
        for name, depth in zip(networks, depths, strict=True):
            for row, found in errors_by_row(points, case.context, context.cameras, depth).items():
                errors[name][row].append(found)
        rows.append(depth_row(f"{case.name} ({case.kind})", context.images, depths))
    return {
        name: {row: figures(torch.cat(found)) for row, found in of_one.items()} for name, of_one in errors.items()
    }, rows


def read_report(path: Path) -> Report:
    """An earlier report, its networks named after the file too. Raises InputError when it is none."""
    document = read_json(path)
    try:
        networks = document["networks"].items()
        return {f"{name} in {path}": {scene: dict(rows) for scene, rows in scenes.items()} for name, scenes in networks}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"cannot compare with {path}", "it is no report of depth", "give the report.json of measure-depth"
        ) from error


def require_same_points(report: Report) -> None:
    """Raises InputError when the networks of a report were not measured on the same scenes at the same points."""
    counts = {name: {scene: rows["all"]["points"] for scene, rows in scenes.items()} for name, scenes in report.items()}
    first, *others = counts
    for other in others:
        if counts[other] != counts[first]:
            raise InputError(
                f"cannot compare {first} with {other}", "other scenes, or other points", "measure both on the same data"
            )


def lines(report: Report) -> list[str]:
    """The report as text: for every scene and over all, one line a row and network."""
    letters = dict(zip(report, "ABCDEFGH", strict=False))
    scenes = list(next(iter(report.values())))
    text = [f"{letter}: {name}" for name, letter in letters.items()]
    for scene in scenes:
        text.append(scene)
        text += [_line(row, letters[name], report[name][scene][row]) for row in ROWS for name in report]
    text.append(f"mean of the scenes that have at least {LEAST_POINTS} points in a row")
    for row in ROWS:
        counted = [
            scene for scene in scenes if all(of_one[scene][row]["points"] >= LEAST_POINTS for of_one in report.values())
        ]
        for name, of_one in report.items():
            mean = mean_of_scenes([of_one[scene][row] for scene in counted])
            text.append(f"{_line(row, letters[name], mean)}  {len(counted)} scenes")
    few = [
        scene for scene in scenes if any(of_one[scene]["all"]["points"] < LEAST_POINTS for of_one in report.values())
    ]
    return [*text, f"scenes with too few points: {', '.join(few) or 'none'}"]


def _line(row: str, letter: str, found: Figures) -> str:
    start = f"  {row:27s} {letter} {found['points']:6.0f} points"
    if found["points"] < LEAST_POINTS:
        return f"{start}  too few"
    shares = f"within 5 % {found['within 5 %']:6.1%}  within 25 % {found['within 25 %']:6.1%}"
    return f"{start}  median {found['median']:.4f}  mean {found['mean']:.4f}  {shares}"


def main() -> None:
    """Measure, write the report, print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="scenes, or folders of them")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of report.json and points")
    parser.add_argument("--weights", type=Path, action="append", help="twice to compare; the shipped ones if not given")
    parser.add_argument("--against", type=Path, action="append", default=[], help="report.json of an earlier run")
    parser.add_argument("--sheet", type=Path, help="PNG file of the photographs and depth maps of every case")
    options = parser.parse_args()
    earlier = [read_report(path) for path in options.against]
    networks = {str(path): load_prior(path, torch.device("cpu")) for path in options.weights or [SHIPPED]}
    report: dict[str, dict[str, dict[str, Figures]]] = {name: {} for name in networks}
    rows: list[Row] = []
    for scene in find_scenes(options.data):
        cases = read_cases(scene)
        found, drawn = measure_scene(cases, cached_points(scene, cases, options.output / "points"), networks)
        for name in networks:
            report[name][scene.name] = found[name]
        rows += drawn
        print(f"{scene.name}: {next(iter(found.values()))['all']['points']} points in {len(cases)} cases", flush=True)
    write_json(options.output / "report.json", {"networks": report})
    if options.sheet:
        write_png(options.sheet, compose(rows))
    compared = {name: scenes for one in [*earlier, report] for name, scenes in one.items()}
    require_same_points(compared)
    print("\n".join(lines(compared)))


if __name__ == "__main__":
    main()
