"""Pictures of a report: quality over the steps of a sampler (the paper's Figure 8), and where the policy leaps to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.errors import RunError

STEPS_TOP = 1000  # of the noise schedule
BINS = 20
# Metrics in their order, and whether more is better; those that a report has no number for are left out.
PLOTTED = {"psnr": "PSNR, dB (more is better)", "ssim": "SSIM (more)", "lpips vgg": "LPIPS-VGG (less)", "fvd": "FVD (less)"}

Curves = Mapping[str, Mapping[int, Mapping[str, float]]]  # method -> steps -> metric -> value


def curves(metrics: Mapping[str, Any]) -> Curves:
    """Figures of methods that ran with several numbers of steps. metrics: the metrics.json of the two-view protocol."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    for case in metrics["cases"]:
        if case.get("student") and case["method"] in metrics["summary"]:
            steps, name = int(case["student"]["steps"]), case["method"]
            method = name.removesuffix("-unposed").removesuffix(f"-{steps}") + ("-unposed" if name.endswith("-unposed") else "")
            means = metrics["summary"][name]["all"]["mean"]
            found.setdefault(method, {})[steps] = {metric: means[metric] for metric in PLOTTED if isinstance(means.get(metric), float)}
    return {method: dict(sorted(by_steps.items())) for method, by_steps in found.items() if len(by_steps) > 1}


def leaps(records: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """The steps t* that a student leapt to, by the name that it goes by. records: of cases, or manifests of `generate`."""
    found: dict[str, list[int]] = {}
    for record in records:
        if isinstance(student := record.get("student"), Mapping) and isinstance(student.get("t"), int):
            found.setdefault(str(record.get("method", student["name"])), []).append(student["t"])
    return found


def draw_curves(path: Path, found: Curves) -> None:
    """Quality over steps as PNG, a panel a metric, a line a method. Raises RunError without matplotlib."""
    figure, axes, plt = _figure(len(panels := [name for name in PLOTTED if any(name in m for by in found.values() for m in by.values())]))
    for axis, metric in zip(axes, panels, strict=True):
        for method, by_steps in found.items():
            points = [(steps, values[metric]) for steps, values in by_steps.items() if metric in values]
            axis.plot(*zip(*points, strict=True), marker="o", label=method)
        axis.set(xlabel="steps", title=PLOTTED[metric], xscale="log")
        axis.set_xticks(ticks := sorted({steps for by_steps in found.values() for steps in by_steps}), [str(tick) for tick in ticks])
        axis.minorticks_off()
    axes[0].legend()
    _save(path, figure, plt)


def draw_leaps(path: Path, found: Mapping[str, Sequence[int]]) -> None:
    """Histograms of t* as PNG, a panel a student. Raises RunError without matplotlib."""
    figure, axes, plt = _figure(len(found))
    for axis, (name, steps) in zip(axes, found.items(), strict=True):
        axis.hist(steps, bins=BINS, range=(0, STEPS_TOP))
        axis.set(xlabel="t*", ylabel="clips", title=f"{name}: {len(steps)} clips")
    _save(path, figure, plt)


def _figure(panels: int) -> tuple[Any, list[Any], Any]:
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise RunError("cannot draw the plots", "matplotlib is not installed", "pip install matplotlib") from error
    figure, axes = plt.subplots(1, panels, figsize=(4.5 * panels, 3.6), squeeze=False)
    return figure, list(axes[0]), plt


def _save(path: Path, figure: Any, plt: Any) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=110, format="png", metadata={"Software": None})  # without a date: the same figures, the same file
    plt.close(figure)
