"""Makes the pairs of a prior's recipe in runs/NAME/clips. Shards that exist are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from videoscene_cli.models.session import Session

if TYPE_CHECKING:
    from stages.distill.prior_worlds import PairWorlds
    from stages.distill.recipe_file import Data

RECORDED_SHARDS = 32  # number of shards of recordings if the recipe does not say it


def planned(folder: Path, count: int) -> list[Path]:
    """The paths of the shards 0 to `count` - 1 of a folder."""
    from stages.worlds.shards import shard_path

    return [shard_path(folder, number) for number in range(count)]


def missing(folder: Path, count: int) -> list[int]:
    """The numbers of the shards of a folder, 0 to `count` - 1, that do not exist."""
    return [number for number, path in enumerate(planned(folder, count)) if not path.exists()]


def make_worlds(worlds: PairWorlds, folder: Path, numbers: Sequence[int], session: Session) -> None:
    """Make shards of worlds in this process."""
    with session.report.progress("worlds") as advance:
        for done, number in enumerate(numbers):
            advance(done, len(numbers))
            worlds.write(folder, number)


def make_recorded(data: Data, sources: Sequence[str], folder: Path, session: Session) -> None:
    """Make the shards of recordings that are missing. Raises InputError when the recordings cannot be used."""
    from stages.distill.clips_of_recordings import find_recordings
    from stages.distill.pairs_of_recordings import write_pairs

    numbers = missing(folder, data.recorded or RECORDED_SHARDS)
    if not numbers:
        return
    with session.report.progress("recordings") as advance:
        recordings = [recording for source in sources for recording in find_recordings(Path(source))]
        for done, number in enumerate(numbers):
            advance(done, len(numbers))
            write_pairs(folder, recordings, session.shared.seed, number, data.sizes, data.scenes)
