"""Our figures in the form of the paper's tables, next to the paper's own, which are marked as quoted."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.evaluate import paper_figures
from stages.evaluate.case_record import NOT_AVAILABLE, POSE_ERRORS, records_of_report
from stages.evaluate.frame_metrics import VBENCH

QUOTED, OURS = "quoted", "ours"
ABSENT = "n/a: " + ", ".join(
    f"{name} needs {VBENCH[name]}" for name in ("aesthetic quality", "subject consistency", "background consistency")
)
VIDEO_HEADER = ["method", "source", "steps", "FVD", "aesthetic", "subject", "background"]
# Names of our methods in Table 4.
TABLE_4_ROWS = {"photographs": "3DGS (photographs)", "reconstruct": "VideoScene (reconstruct)"}


@dataclass(frozen=True)
class Table:
    """A table of text cells.

    name: of its file.  title: what it shows, and how far it can be compared.
    """

    name: str
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """The table as a Markdown section."""
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        return f"## {self.title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"

    def csv(self) -> str:
        """The table as comma-separated lines."""
        file = io.StringIO()
        csv.writer(file, lineterminator="\n").writerows([self.header, *self.rows])
        return file.getvalue()


def tables(metrics: Mapping[str, Any]) -> list[Table]:
    """All tables of a report. metrics: metrics.json of the two-view protocol."""
    summary, steps = metrics["summary"], _steps(metrics)
    unposed = [_unposed(metrics["unposed"])] if "unposed" in metrics else []
    videos = [_videos(summary, steps), _acid(), _ablation(summary)]
    return [_results(summary), *unposed, *videos, _views(summary), _seconds(summary)]


def comparison(reports: Mapping[str, Mapping[str, Any]]) -> Table:
    """Several reports side by side, such as those of an ablation's students, below the paper's rows.

    reports: metrics.json of the two-view protocol, by name.
    """
    names = ("fvd", "psnr", "ssim", "lpips vgg")
    theirs = paper_figures.TABLE_3.items()
    rows = [[name, QUOTED, "1", NOT_AVAILABLE, _cell("fvd", row[0]), *[NOT_AVAILABLE] * 3] for name, row in theirs]
    for report, metrics in reports.items():
        steps = _steps(metrics)
        for method, kinds in metrics["summary"].items():
            cells = [_cell(name, kinds["all"]["mean"][name]) for name in names]
            rows.append([report, method, steps.get(method, NOT_AVAILABLE), str(kinds["all"]["cases"]), *cells])
    header = ["variant", "method", "steps", "cases", "FVD", "PSNR", "SSIM", "LPIPS-VGG"]
    title = "Table 3: ablation (ours: means over the cases of each report; the paper's are of other data)"
    return Table("comparison", title, header, rows)


def _steps(metrics: Mapping[str, Any]) -> dict[str, str]:
    """The number of sampler steps of each method that has them."""
    return {each.method: str(each.student["steps"]) for each in records_of_report(metrics) if each.student}


def _results(summary: Mapping[str, Any]) -> Table:
    """All figures of the two-view protocol."""
    metrics = list(next(iter(next(iter(summary.values())).values()))["mean"])
    rows = []
    for method, kinds in summary.items():
        for kind, means in kinds.items():
            cells = [_cell(name, means["mean"][name]) for name in metrics]
            context = [_cell("psnr", means["context psnr"][name]) for name in ("mean", "worst")]
            rows.append([method, kind, str(means["cases"]), *cells, *context])
    header = ["method", "cases of kind", "cases", *metrics, "psnr at the inputs", "worst"]
    return Table("results", "Two-view protocol: means over cases", header, rows)


def _unposed(cost: Mapping[str, Any]) -> Table:
    """Each method with true cameras and with estimated ones."""
    rows = []
    for method, kinds in cost.items():
        for kind, record in kinds.items():
            figures = [
                _cell("psnr", record[cases][how]["psnr"]) if record[cases][how] else NOT_AVAILABLE
                for cases in ("all", "both")
                for how in ("posed", "unposed")
            ]
            off = [_cell(name, record["off"].get(name, NOT_AVAILABLE)) for name in POSE_ERRORS]
            rows.append([method, kind, f"{record['found']} of {record['cases']}", *figures, *off])
    header = ["method", "cases of kind", "cameras found", "PSNR, true cameras", "estimated"]
    header += ["PSNR where found, true cameras", "estimated", *POSE_ERRORS]
    title = (
        "Without cameras: they are estimated from the two photographs, or else the crossfade counts; errors are "
        "medians, of two angles in degrees and of a ratio"
    )
    return Table("unposed", title, header, rows)


def _videos(summary: Mapping[str, Any], steps: Mapping[str, str]) -> Table:
    ours = [[method, OURS, steps.get(method, NOT_AVAILABLE), *_our_video(kinds)] for method, kinds in summary.items()]
    theirs = "the paper's: RealEstate10K, FVD by features that it does not state"
    title = f"Table 1: video quality (ours: the cases of this report; {theirs}; {ABSENT})"
    return Table("table1", title, VIDEO_HEADER, _quoted_videos(paper_figures.TABLE_1) + ours)


def _acid() -> Table:
    return Table("table2", "Table 2: ACID", VIDEO_HEADER, _quoted_videos(paper_figures.TABLE_2))


def _quoted_videos(table: Mapping[str, Mapping[int, Sequence[float]]]) -> list[list[str]]:
    by_name = table.items()
    return [[name, QUOTED, str(steps), *_vbench(row)] for name, by_steps in by_name for steps, row in by_steps.items()]


def _ablation(summary: Mapping[str, Any]) -> Table:
    rows = [[name, QUOTED, *_vbench(row)] for name, row in paper_figures.TABLE_3.items()]
    ours = {"render": "base render", "generate": "full"}
    rows += [[variant, OURS, *_our_video(summary[method])] for method, variant in ours.items() if method in summary]
    title = f"Table 3: ablation (ours: the cases of this report; {ABSENT})"
    return Table("table3", title, ["variant", "source", "FVD", "aesthetic", "subject", "background"], rows)


def _views(summary: Mapping[str, Any]) -> Table:
    rows = []
    for name, both in paper_figures.TABLE_4.items():
        for data, row in zip(("Mip-NeRF 360", "Tanks and Temples"), both, strict=True):
            rows.append([name, QUOTED, data, f"{row[0]:.2f}", f"{row[1]:.3f}", f"{row[2]:.3f}"])
    for method, kinds in summary.items():
        for kind, means in kinds.items():
            cells = [_cell(name, means["mean"][name]) for name in ("psnr", "ssim", "lpips vgg")]
            rows.append([TABLE_4_ROWS.get(method, method), OURS, f"{means['cases']} {kind} cases", *cells])
    title = "Table 4: new views from two photographs (ours and the paper's are of different data)"
    return Table("table4", title, ["method", "source", "data", "PSNR", "SSIM", "LPIPS"], rows)


def _seconds(summary: Mapping[str, Any]) -> Table:
    numbers = paper_figures.TABLE_6.items()
    quoted = [[name, QUOTED, f"{seconds:.2f}", str(frames)] for name, (seconds, frames) in numbers]
    ours = [[method, OURS, _cell("seconds", kinds["all"]["seconds"]), "one case"] for method, kinds in summary.items()]
    title = "Table 6: seconds (ours on the machine of this report, the paper's on its own)"
    return Table("table6", title, ["method", "source", "seconds", "frames"], quoted + ours)


def benchmark_tables(benchmark: Mapping[str, Any]) -> list[Table]:
    """Tables 6 and 7 from a benchmark.json: seconds and memory of each stage on one machine, next to the paper's."""
    machine, stages, frames = benchmark["machine"], benchmark["stages"], str(benchmark["workload"]["frames"])
    machine_name = f"{machine['processor']}, {machine['cores']} cores, {machine['device']}"
    # Seconds of each stage, and of the stages that make a video together.
    clip = [figures for stage, figures in stages.items() if stage != "reconstruct"]
    numbers = paper_figures.TABLE_6.items()
    rows = [[name, QUOTED, NOT_AVAILABLE, f"{seconds:.2f}", str(count)] for name, (seconds, count) in numbers]
    whole = {kind: sum(figures[kind] for figures in clip) for kind in ("cold", "warm")}
    for stage, figures in [*stages.items(), ("two photographs to a video", whole)]:
        rows.append([stage, OURS, f"{figures['cold']:.2f}", f"{figures['warm']:.2f}", frames])
    title, header = f"Table 6: seconds (ours on {machine_name})", ["method", "source", "cold", "warm", "frames"]
    seconds = Table("table6-benchmark", title, header, rows)
    # Memory of each stage.
    quoted = [[part, QUOTED, f"{gigabytes:g}"] for part, gigabytes in paper_figures.TABLE_7.items()]
    ours = [[stage, OURS, f"{figures['peak_memory_bytes'] / 1e9:.2f}"] for stage, figures in stages.items()]
    title = f"Table 7: memory in GB (the paper's to train, on one A100; ours to run, on {machine_name})"
    return [seconds, Table("table7-benchmark", title, ["part", "source", "peak GB"], quoted + ours)]


def _our_video(kinds: Mapping[str, Any]) -> list[str]:
    return [_cell("fvd", kinds["all"]["mean"]["fvd"]), *[NOT_AVAILABLE] * 3]


def _vbench(row: Sequence[float]) -> list[str]:
    return [f"{row[0]:.2f}", *(f"{value:.4f}" for value in row[1:])]


def _cell(metric: str, value: float | str | None) -> str:
    if not isinstance(value, float):
        return "inf" if value is None else str(value)
    return f"{value:.2f}" if metric in ("psnr", "fvd", "kvd", "seconds") else f"{value:.3f}"
