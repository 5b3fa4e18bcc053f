"""Makes the clips that a recipe asks for, in runs/NAME/clips, shard by shard. Existing shards are kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from videoscene_cli.models.session import Session

if TYPE_CHECKING:
    from stages.distill.recipe_file import Data
    from stages.distill.workers import Workers

RECORDED_CLIPS = 8  # number of clips per shard of recordings


def planned_folders(data: Data, folder: Path) -> list[Path]:
    """The folders that `make_clips` fills."""
    return [folder / kind for kind, count in (("worlds", data.worlds), ("recorded", data.recorded)) if count]


def make_clips(data: Data, folder: Path, session: Session, workers: Workers) -> None:
    """Make the missing shards of worlds and recordings.

    A shard depends on the prior, the textures and furniture, --seed and its number.

    Each process makes its share of them.
    Raises InputError when recordings, textures or furniture cannot be used, WeightsError when the prior cannot.
    """
    from stages.worlds.shards import shard_path

    worlds, recorded = folder / "worlds", folder / "recorded"
    own = slice(workers.rank, None, workers.count)
    missing = [k for k in range(data.worlds)[own] if not shard_path(worlds, k).exists()]
    missing_recorded = [k for k in range(data.recorded)[own] if not shard_path(recorded, k).exists()]
    if missing or missing_recorded:
        session.open_renderer()
    if missing:
        _make_worlds(data, worlds, missing, session)
    if missing_recorded:
        _make_recorded(data, recorded, missing_recorded, session)


def _make_worlds(data: Data, folder: Path, missing: list[int], session: Session) -> None:
    from stages.distill.clips_of_worlds import write_shard
    from stages.distill.prior_worlds import load_materials

    seed = session.shared.seed
    with session.report.progress("worlds") as advance:
        textures, assets = load_materials(data)
        for done, k in enumerate(missing):
            advance(done, len(missing))
            write_shard(folder, textures, assets, session.network, seed, k)


def _make_recorded(data: Data, folder: Path, missing: list[int], session: Session) -> None:
    from stages.distill.clips_of_recordings import find_recordings, write_shard

    with session.report.progress("recordings") as advance:
        recordings = [recording for source in data.recordings for recording in find_recordings(Path(source))]
        for done, k in enumerate(missing):
            advance(done, len(missing))
            seed = session.shared.seed
            write_shard(folder, recordings, session.network, seed, k, data.size, data.frames, RECORDED_CLIPS)
