"""The plots of a report: quality over the number of sampler steps (the paper's Figure 8), and chosen leap steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.errors import RunError
from stages.evaluate.case_record import CaseRecord

STEPS_TOP = 1000  # number of timesteps of the noise schedule
BINS = 20  # number of bins of a histogram
# Title of each metric's panel. A panel is left out if the report has no value for it.
PLOTTED = {
    "psnr": "PSNR, dB (more is better)",
    "ssim": "SSIM (more)",
    "lpips vgg": "LPIPS-VGG (less)",
    "fvd": "FVD (less)",
}

Curves = Mapping[str, Mapping[int, Mapping[str, float]]]  # method -> steps -> metric -> value


def curves(records: Sequence[CaseRecord], summary: Mapping[str, Any]) -> Curves:
    """The figures of methods that ran with several numbers of steps. summary: of metrics.json."""
    by_method: dict[str, dict[int, dict[str, float]]] = {}
    for record in records:
        if record.student:
            steps, name = int(record.student["steps"]), record.method
            unposed = "-unposed" if name.endswith("-unposed") else ""
            method = name.removesuffix("-unposed").removesuffix(f"-{steps}") + unposed
            means = summary[name]["all"]["mean"]
            known = [metric for metric in PLOTTED if isinstance(means.get(metric), float)]
            by_method.setdefault(method, {})[steps] = {metric: means[metric] for metric in known}
    return {method: dict(sorted(by_steps.items())) for method, by_steps in by_method.items() if len(by_steps) > 1}


def leaps(records: Sequence[CaseRecord]) -> dict[str, list[int]]:
    """The leap steps t* of each method that has them."""
    by_method: dict[str, list[int]] = {}
    for record in records:
        if record.student and isinstance(t := record.student.get("t"), int):
            by_method.setdefault(record.method, []).append(t)
    return by_method


def plot_curves(path: Path, methods: Curves) -> None:
    """Plot quality over the number of steps, as a PNG: one panel per metric, one line per method.

    Raises RunError without matplotlib.
    """
    panels = [name for name in PLOTTED if any(name in values for by in methods.values() for values in by.values())]
    figure, axes, plt = _figure(len(panels))
    for axis, metric in zip(axes, panels, strict=True):
        for method, by_steps in methods.items():
            points = [(steps, values[metric]) for steps, values in by_steps.items() if metric in values]
            axis.plot(*zip(*points, strict=True), marker="o", label=method)
        axis.set(xlabel="steps", title=PLOTTED[metric], xscale="log")
        ticks = sorted({steps for by_steps in methods.values() for steps in by_steps})
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.minorticks_off()
    axes[0].legend()
    _save(path, figure, plt)


def plot_leaps(path: Path, leaps_by_method: Mapping[str, Sequence[int]]) -> None:
    """Plot histograms of t*, as a PNG: one panel per method. Raises RunError without matplotlib."""
    figure, axes, plt = _figure(len(leaps_by_method))
    for axis, (name, steps) in zip(axes, leaps_by_method.items(), strict=True):
        axis.hist(steps, bins=BINS, range=(0, STEPS_TOP))
        axis.set(xlabel="t*", ylabel="clips", title=f"{name}: {len(steps)} clips")
    _save(path, figure, plt)


def _figure(panels: int) -> tuple[Any, list[Any], Any]:
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise RunError("cannot make the plots", "matplotlib is not installed", "pip install matplotlib") from error
    figure, axes = plt.subplots(1, panels, figsize=(4.5 * panels, 3.6), squeeze=False)
    return figure, list(axes[0]), plt


def _save(path: Path, figure: Any, plt: Any) -> None:
    figure.tight_layout()
    # Without the version of matplotlib in the file, the same values give the same bytes.
    figure.savefig(path, dpi=110, format="png", metadata={"Software": None})
    plt.close(figure)
