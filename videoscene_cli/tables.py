"""`evaluate --report OUT`: the results in OUT as Markdown and CSV tables."""

from __future__ import annotations

from pathlib import Path

from stages.errors import InputError
from stages.files.documents import read_json
from stages.files.publish import publish
from videoscene_cli.engine import Engine


def write_tables(out: Path, engine: Engine) -> None:
    """Write OUT/tables.md and OUT/tables/*.csv from OUT/metrics.json; prints the paths, with --dry-run nothing else.

    Raises InputError if OUT holds no such results.
    """
    from stages.evaluate.tables import tables

    metrics = read_json(out / "metrics.json")
    if not isinstance(metrics, dict) or metrics.get("protocol", {}).get("name") != "two-view" or not metrics.get("summary"):
        hint = f"videoscene evaluate --two-view DIR... -o {out}"
        raise InputError(f"no tables from {out}", "its metrics.json is not of the two-view protocol", hint)
    made = tables(metrics)
    written = {out / "tables.md": "\n".join(table.markdown() for table in made)}
    written |= {out / "tables" / f"{table.name}.csv": table.csv() for table in made}
    for path, text in written.items():
        if not engine.shared.dry_run:
            with publish(path) as partial:
                partial.write_text(text, encoding="utf-8")
        engine.report.data(str(path), {"path": str(path)})
