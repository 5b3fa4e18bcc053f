"""`evaluate --report OUT`: the results in OUT as Markdown and CSV tables, plots, and sheets of pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.errors import InputError
from stages.files.documents import read_json
from stages.files.publish import publish
from videoscene_cli.models.session import Session

if TYPE_CHECKING:
    from stages.evaluate.case_record import CaseRecord
    from stages.evaluate.tables import Table


def write_tables(out: Path, session: Session) -> None:
    """Write all files for which OUT has results, and print their paths; with --dry-run only print them.

    tables.md and tables/*.csv from metrics.json; benchmark.md from benchmark.json; sheets.md and sheets/CASE.png from
    kept frames; plots/leaps.png and plots/steps.png if a student ran, or ran with several numbers of steps. If OUT has
    no metrics.json but its folders do: comparison.md. Raises InputError if OUT has no results.
    """
    from stages.evaluate.case_record import records_of_report
    from stages.evaluate.tables import benchmark_tables, comparison, tables

    if (out / "benchmark.json").is_file():
        _write_all(out, "benchmark.md", benchmark_tables(read_json(out / "benchmark.json")), session)
        if not (out / "metrics.json").is_file():
            return
    inside = sorted(path.parent for path in out.glob("*/metrics.json"))
    if inside and not (out / "metrics.json").is_file():
        reports = {folder.name: _read(folder) for folder in inside}
        return _write_all(out, "comparison.md", [comparison(reports)], session)
    metrics = _read(out)
    _write_all(out, "tables.md", tables(metrics), session)
    records = records_of_report(metrics)
    if (out / "frames").is_dir():
        _write_sheets(out, records, session)
    _write_plots(out / "plots", records, metrics, session)


def _read(out: Path) -> dict[str, Any]:
    """Read OUT/metrics.json. Raises InputError unless it is of the two-view protocol."""
    metrics = read_json(out / "metrics.json")
    is_two_view = isinstance(metrics, dict) and metrics.get("protocol", {}).get("name") == "two-view"
    if not is_two_view or not metrics.get("summary"):
        hint = f"videoscene evaluate --two-view DIR... -o {out}"
        raise InputError(f"no tables from {out}", "its metrics.json is not of the two-view protocol", hint)
    return metrics


def _write_all(out: Path, page: str, tables: Sequence[Table], session: Session) -> None:
    _write(out / page, "\n".join(table.markdown() for table in tables), session)
    for table in tables:
        _write(out / "tables" / f"{table.name}.csv", table.csv(), session)


def _write(path: Path, text: str, session: Session) -> None:
    if not session.shared.dry_run:
        with publish(path) as partial:
            partial.write_text(text, encoding="utf-8")
    session.report.data(str(path), {"path": str(path)})


def _write_plots(folder: Path, records: list[CaseRecord], metrics: Mapping[str, Any], session: Session) -> None:
    """Write the plot of quality over steps and the histograms of t*, if there are any."""
    from stages.evaluate.plots import curves, leaps, plot_curves, plot_leaps

    steps, chosen = curves(records, metrics["summary"]), leaps(records)
    plots: dict[str, Callable[[Path], None]] = {"steps.png": lambda path: plot_curves(path, steps)} if steps else {}
    plots |= {"leaps.png": lambda path: plot_leaps(path, chosen)} if chosen else {}
    for name, plot in plots.items():
        if not session.shared.dry_run:
            with publish(folder / name) as partial:
                plot(partial)
        session.report.data(str(folder / name), {"path": str(folder / name)})


def _write_sheets(out: Path, records: list[CaseRecord], session: Session) -> None:
    """Write one picture per case, and a page that shows all of them."""
    from stages.evaluate.kept_frames import TRUTH, sheet
    from stages.files.images import write_png

    figures: dict[str, dict[str, str]] = {}
    kinds = {record.case: record.kind for record in records}
    for record in records:
        if all((out / "frames" / kept / record.case).is_dir() for kept in (record.method, TRUTH)):
            psnr = record.mean["psnr"]
            figures.setdefault(record.case, {})[record.method] = "inf" if psnr is None else f"{psnr:.2f}"
    page = ["# Every case: photographs, truth, frames, errors, depth\n"]
    with session.report.progress("sheets") as advance:
        for done, (name, methods) in enumerate(sorted(figures.items())):
            path = out / "sheets" / f"{name}.png"
            if not session.shared.dry_run:
                picture = sheet(out / "frames", name, list(methods))
                with publish(path) as partial:
                    write_png(partial, picture)
            caption = ", ".join(f"{method} {psnr} dB" for method, psnr in methods.items())
            page.append(f"## {name} ({kinds[name]})\n\n{caption}\n\n![{name}](sheets/{name}.png)\n")
            advance(done + 1, len(figures))
    _write(out / "sheets.md", "\n".join(page), session)
